"""Runs on text: trained with states carried between windows, continued, and what is refused."""

import json
import shutil

import numpy as np
import pytest

from chainrule.data import Bytes
from chainrule.train import Recipe, Run
from chainrule.train.checkpoints import checkpoint
from chainrule.train.runs import sampling
from chainrule.train.runs import training as runs
from commands import call, expect_one_error

RHYME = "one two three four five six seven\n" * 300
SMALL = {"hidden": [32], "embedding": 8, "length": 16, "batch_size": 16, "lr": 0.02}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "rhyme.txt"
    path.write_text(RHYME)
    return path


@pytest.fixture(scope="module")
def run(file):
    recipe = Recipe(source=str(file), epochs=8, **SMALL)
    return runs.train(recipe, file.parent / "run", progress=False)


def test_a_text_is_learned_and_continued(run, file, capsys):
    bits = run.metrics["bits_per_character"]
    assert bits < 0.5
    assert bits == pytest.approx(run.metrics["loss"] / np.log(2))
    assert len(run.samples[0]) == 400
    rows = [json.loads(line) for line in (run.run / "metrics.jsonl").read_text().splitlines()]
    for name in ("", "valid_"):
        last = rows[-1]
        assert last[f"{name}bits_per_character"] == pytest.approx(last[f"{name}loss"] / np.log(2))
    page = run.report.read_text()
    assert "bits per character" in page.lower()
    assert run.samples[0][:40] in page
    code, out, _ = call(capsys, "predict", run.run, "--length", 40, "--seed", 3)
    assert code == 0
    assert set(out) <= set(RHYME)
    assert out == call(capsys, "predict", run.run, "--length", 40, "--seed", 3)[1]
    _, out, _ = call(capsys, "predict", run.run, "--prompt", "one two three f", "--length", 12)
    assert out == "our five six\n"
    _, out, _ = call(capsys, "evaluate", run.run, file, "--json")
    assert json.loads(out)["metrics"]["bits_per_character"] < 0.5
    _, out, _ = call(capsys, "evaluate", run.run, file)
    steps = (len(RHYME) - 1) // 32
    assert out.startswith(f"{steps * 32} tokens: "), "32 streams"


def test_evaluate_says_which_characters_training_did_not_have(run, tmp_path, capsys):
    path = tmp_path / "t.txt"
    path.write_text("one two ZZ three " * 20)
    _, _, said = call(capsys, "evaluate", run.run, path)
    assert "40 of 340 characters are not in the training text" in said
    assert "'Z'" in said


def test_another_model_of_a_recipe_has_its_own_settings(run, tmp_path, capsys):
    recipe = run.run / "recipe.toml"
    options = ["--model", "transformer", "--epochs", 1, "--out", tmp_path / "other", "--quiet"]
    assert call(capsys, "train", recipe, *options)[0] == 0
    made = Recipe.read(tmp_path / "other" / "recipe.toml")
    assert (made.model, made.heads, made.embedding, made.carry) == ("transformer", 1, None, None)
    assert made.hidden == SMALL["hidden"]


def test_the_state_is_carried(run):
    recipe = Recipe.read(run.run / "recipe.toml")
    assert (recipe.carry, recipe.tokens, recipe.model) == (True, "characters", "lstm")
    _, state = checkpoint.latest(run.run / "checkpoints")
    training = int(0.85 * len(RHYME))
    windows = (training - 1) // (16 * 16)
    assert state["step"] == 8 * windows, "one step per window, each with 16 streams"


def test_a_stopped_run_ends_as_one_that_was_not(run, file, tmp_path, monkeypatch):
    """In the middle of an epoch, where the state is that of earlier windows."""

    class Stops(sampling.Samples):
        def on_step(self, trainer):
            if trainer.step >= 70:
                trainer.stop("interrupted")

    monkeypatch.setattr(runs, "Samples", Stops)
    recipe = Recipe(source=str(file), epochs=8, **SMALL)
    first = runs.train(recipe, tmp_path / "run", progress=False)
    assert first.interrupted
    monkeypatch.undo()
    monkeypatch.setenv("CHAINRULE_BACKEND", "native")
    runs.resume(tmp_path / "run", progress=False)
    weights = (tmp_path / "run" / "model.safetensors").read_bytes()
    assert weights == (run.run / "model.safetensors").read_bytes()


def test_a_recipe_of_an_earlier_version_starts_each_window_from_zeros(run, file, tmp_path):
    """It has every setting except those that came later."""
    text = (run.run / "recipe.toml").read_text()
    lines = [k for k in text.splitlines() if k.split(" ")[0] not in ("carry", "tokens", "encoding")]
    (tmp_path / "old.toml").write_text("\n".join(lines).replace("epochs = 8", "epochs = 1"))
    recipe = Recipe.read(tmp_path / "old.toml")
    recipe.source = str(file)
    result = runs.train(recipe, tmp_path / "run", progress=False)
    assert not Recipe.read(result.run / "recipe.toml").carry
    _, state = checkpoint.latest(result.run / "checkpoints")
    windows = (int(0.85 * len(RHYME)) - 1) // 16
    assert state["step"] == -(-windows // 16)


def test_a_transformer_reads_windows_in_random_order(file, tmp_path, capsys):
    recipe = Recipe(
        source=str(file),
        model="transformer",
        hidden=[16] * 2,
        heads=2,
        length=32,
        epochs=12,
        lr=0.01,
    )
    result = runs.train(recipe, tmp_path / "run", progress=False)
    assert result.metrics["bits_per_character"] < 1.0
    written = Recipe.read(result.run / "recipe.toml")
    assert (written.carry, written.embedding) == (None, None)
    sampling = ["--temperature", 0, "--length", 100]
    _, out, _ = call(capsys, "predict", result.run, "--prompt", "one two three four", *sampling)
    assert out.startswith(" five six seven\none"), "beyond the windows of 32 too"


def test_how_it_is_sampled(run, capsys):
    def written(*arguments):
        code, out, err = call(
            capsys, "predict", run.run, "--prompt", "one ", "--length", 60, *arguments
        )
        assert code == 0, err
        return out

    greedy = written("--temperature", 0)
    assert greedy == written("--top-k", 1, "--seed", 5) == written("--top-p", 1e-6, "--seed", 6)
    assert written("--temperature", 20) != greedy
    assert written("--seed", 1, "--temperature", 20) != written("--seed", 2, "--temperature", 20)
    expect_one_error(capsys, ["predict", run.run, "--top-p", 2], "top_p")


def test_samples_are_shown_while_it_trains(run, file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sampling, "FIRST", 0.0)
    recipe = run.run / "recipe.toml"
    code, out, err = call(capsys, "train", recipe, "--epochs", 2, "--out", tmp_path / "run")
    assert code == 0
    assert "after step 1 it writes: " in err
    assert "lstm with 1 layer of 32; windows of 16 characters, the state carried" in err
    assert "valid bits per character" in err
    assert out.startswith("a sample:\n")


def test_bytes_know_every_character(tmp_path, capsys):
    path = tmp_path / "t.txt"
    path.write_text("für größe ähnlich\n" * 300)
    recipe = Recipe(source=str(path), epochs=5, tokens="bytes", **SMALL)
    result = runs.train(recipe, tmp_path / "run", progress=False)
    per_byte = result.metrics["loss"] / np.log(2)
    assert result.metrics["bits_per_character"] == pytest.approx(per_byte * 22 / 18, rel=0.02)
    code, out, _ = call(capsys, "predict", result.run, "--prompt", "für 日", "--length", 9)
    assert (code, len(Bytes().encode(out)) >= 9) == (0, True)
    assert Bytes().decode(Bytes().encode("für 日")) == "für 日"


def test_another_encoding(tmp_path, capsys):
    path = tmp_path / "t.txt"
    text = RHYME.replace("x", "ü")
    path.write_bytes(text.replace("\n", "\r\n").encode("latin-1"))
    said = "t.txt, which is not text at byte 26 (0xfc); expected UTF-8; name its encoding"
    expect_one_error(capsys, ["train", path], said)
    recipe = Recipe(source=str(path), epochs=1, encoding="latin-1", **SMALL)
    runs.train(recipe, tmp_path / "run", progress=False)
    run = Run.open(tmp_path / "run")
    assert run.task.vocabulary.characters == "".join(sorted(set(text)))
    assert call(capsys, "evaluate", tmp_path / "run", path)[0] == 0
    expect_one_error(capsys, ["train", path, "--encoding", "klingon"], "'klingon'")
    other = tmp_path / "utf8.txt"
    other.write_text(text)
    bits = [
        json.loads(call(capsys, "evaluate", tmp_path / "run", *file, "--json")[1])["metrics"]
        for file in ([path], [other, "--encoding", "utf-8"])
    ]
    assert bits[0] == bits[1]
    for command in (["evaluate"], ["predict", "--length", 3]):
        call_with = [*command[:1], tmp_path / "run", other, *command[1:], "--encoding", "utf-8"]
        assert call(capsys, *call_with)[0] == 0
    expect_one_error(capsys, ["train", path, "--encoding", "base64"], "'base64'")


def test_a_text_too_short_for_one_of_its_parts(tmp_path, capsys):
    (tmp_path / "short.txt").write_text("a line of text\n" * 10)
    said = "got a text of 150 characters, 8 characters of it for validation; expected 9 or more"
    expect_one_error(capsys, ["train", tmp_path / "short.txt"], said)
    (tmp_path / "short.txt").write_text("a line of text\n" * 100)
    expect_one_error(capsys, ["train", tmp_path / "short.txt", "--length", 200], "201 or more")


def test_prompts(run, classified, file, tmp_path, capsys):
    expect_one_error(capsys, ["predict", classified.run, "--prompt", "a"], "a run on text")
    said = "got 'ß' (U+00DF) at position 4 of the prompt"
    expect_one_error(capsys, ["predict", run.run, "--prompt", "one ß"], said)
    expect_one_error(capsys, ["predict", run.run, file, "--prompt", "one"], "leave out --prompt")
    (tmp_path / "new.txt").write_text("öne ß")
    code, _, err = call(capsys, "predict", run.run, tmp_path / "new.txt", "--length", 5)
    assert code == 0
    assert err.endswith("one unknown character: 'ß', 'ö'\n")
    assert call(capsys, "predict", run.run, "--prompt", "", "--length", 5)[0] == 0


def test_settings_that_fit_no_text(file, tmp_path, capsys):
    for arguments, said in (
        (["--model", "cnn"], "expected one of lstm, gru"),
        (["--hidden", "16,8"], "layers of one size"),
        (["--batch-size", 5000], "got batch_size 5000"),
    ):
        expect_one_error(capsys, ["train", file, *arguments, "--out", tmp_path / "run"], said)
    expect_one_error(capsys, ["train", "iris", "--tokens", "bytes"], "leave out tokens")


def test_a_folder_that_moved_still_writes(run, tmp_path, capsys):
    shutil.copytree(run.run, tmp_path / "copy")
    found = [
        call(capsys, "predict", folder, "--prompt", "one", "--length", 20)[1]
        for folder in (run.run, tmp_path / "copy")
    ]
    assert found[0] == found[1]
