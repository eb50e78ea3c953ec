"""`chainrule explain`: ready examples and runs, as a page, as text and as a program."""

import json
import os
import re
import subprocess
import sys
import webbrowser
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule.cli import examples
from chainrule.train import Recipe
from chainrule.train.runs import training as runs
from commands import call, expect_one_error


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def neuron():
    example = examples.load("neuron")
    return cr.explain(example.loss, *example.arguments(None, None))


# ── ready examples ───────────────────────────────────────────────────────────────────────────────


def central_difference(loss, arguments, parameter, place):
    """∂loss/∂parameter[place] from two losses; the parameter is as before afterwards."""
    step, losses = 1e-2, []
    before = parameter.numpy().copy()
    for sign in (1, -1):
        moved = before.copy()
        moved[place] += sign * step
        with cr.no_grad():
            parameter[...] = moved
            losses.append(loss(*arguments).item())
    with cr.no_grad():
        parameter[...] = before
    return (losses[0] - losses[1]) / (2 * step)


@pytest.mark.parametrize("name", [n for n in examples.NAMES if n != "neuron"])
def test_an_example_has_gradients_to_look_at(name):
    example = examples.load(name)
    arguments = example.arguments(None, None)
    explanation = cr.explain(example.loss, *arguments)
    assert 0.1 < explanation.loss < 5
    assert example.text.count(". ") >= 1
    variables = example.loss.__globals__
    owner = variables.get("model") or variables["head"]
    parameters = {n.removeprefix("head."): g for n, g in explanation.gradients.items()}
    path, p = [*owner.named_parameters()][-2]
    gradient = parameters[path]
    place = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)
    expected = central_difference(example.loss, arguments, p, place)
    assert abs(gradient[place]) > 1e-3
    assert gradient[place] == pytest.approx(expected, rel=0.02)


def test_one_neuron_by_hand():
    explanation = neuron()
    assert explanation.loss == 0.25  # (1/2 − 1)²
    assert explanation.gradients["w"].tolist() == [-0.25, -0.5]  # 2 · (−1/2) · 1/4 · (1, 2)
    assert explanation.gradients["b"] == -0.25


@pytest.mark.parametrize("name", ["digits", "cnn", "spirals", "attention"])
def test_an_introduction_is_that_of_its_own_sample(name):
    example = examples.load(name)
    assert example.introduction(None, None) == example.text
    own = example.sample
    assert example.introduction(own, 1) == example.text
    model = example.loss.__globals__["model"]
    inputs, labels = example.data
    believed, right = model(inputs).numpy().argmax(-1), labels.numpy()
    for k in {0, 1, 2, 3} - {own}:
        said = example.introduction(k, None)
        assert said.endswith("and is right.") == bool(believed[k] == right[k])
        assert example.text not in said
    count = (believed[own : own + 3] == right[own : own + 3]).sum()
    assert f"about {count} of 3 samples" in example.introduction(own, 3)


OPERATIONS = {
    "neuron": ("w · x", "sigmoid("),
    "xor": ("x @ hidden.weightᵀ", "tanh("),
    "spirals": ("point @ hidden1.weightᵀ", "tanh("),
    "digits": ("@ hidden.weightᵀ", "hidden ≤ 0"),
    "cnn": ("convolution(image, kernels.weight)", "max_pool("),
    "rnn": ("state @ rnn.weight_hh_l0ᵀ", "tanh("),
    "attention": ("embedding.weight", "scores.weightᵀ"),
}


@pytest.mark.parametrize("name", examples.NAMES)
def test_an_example_has_every_form(name):
    example = examples.load(name)
    explained = cr.explain(example.loss, *example.arguments(None, None))
    page = explained.page(title=example.title)
    assert f"<title>{example.title}</title>" in page
    data = json.loads(re.search(r'id="contents">(.*?)</script>', page)[1])
    assert {*data["gradients"]} == {*explained.gradients}
    story, equations = explained.story(), explained.unicode()
    assert f"{explained.loss:.4g}" in story
    assert all(name in story and name in equations for name in explained.gradients)
    assert equations.count("∂L/∂") >= len(explained.gradients)
    assert explained.latex().count(r"\partial L") >= len(explained.gradients)
    assert all(formula in explained.text() for formula in OPERATIONS[name])


@pytest.mark.parametrize("name", examples.NAMES)
def test_the_program_of_an_example_computes_the_same(name):
    example = examples.load(name)
    explanation = cr.explain(example.loss, *example.arguments(None, None))
    space = {}
    exec(explanation.numpy(), space)
    loss, gradients = space["loss_and_gradients"](**explanation.arrays())
    assert loss == pytest.approx(explanation.loss, rel=1e-6)
    assert {*gradients} == {*explanation.gradients}
    for path, gradient in explanation.gradients.items():
        np.testing.assert_allclose(gradients[path], gradient, rtol=1e-4, atol=1e-6)


def test_an_example_is_the_same_every_time():
    first, second = (examples.load("xor") for _ in range(2))
    losses = [cr.explain(e.loss, *e.arguments(None, None)).loss for e in (first, second)]
    assert losses[0] == losses[1]


def test_the_gradient_of_the_recurrent_network_fades():
    example = examples.load("rnn")
    sequence, positive = example.arguments(None, None)
    gradient = cr.grad(lambda x: example.loss(x, positive))(sequence).numpy().ravel()
    assert len(gradient) >= 12
    assert abs(gradient[0]) < 1e-3 * abs(gradient[-1])


def test_the_network_with_attention_hesitates_and_then_looks():
    example = examples.load("attention")
    space = example.loss.__globals__
    model, words, (sentence, answer) = space["model"], np.array(space["words"]), example.data
    right = sentence.numpy() == answer.numpy()[:, None]  # where the animal of the answer is

    def attention():
        with cr.no_grad():
            weights = model.attention(model.embedding(sentence))[1].numpy()
        return weights[:, -1][right].mean()

    with cr.no_grad():
        likely = model(sentence[:1]).numpy()[0].argsort()[-2:]
    assert {*words[likely]} == {"dog", "wolf"}
    before = attention()
    for _ in range(60):
        example.loss(sentence, answer).backward()
        space["optimizer"].step()
        space["optimizer"].zero_grad()
    assert example.loss(sentence, answer).item() < 0.01
    assert attention() > 1.2 * before


@pytest.mark.parametrize(("name", "digit", "other"), [("digits", 2, 1), ("cnn", 9, 5)])
def test_the_digit_is_mistaken_as_the_example_says(name, digit, other):
    example = examples.load(name)
    image, label = example.arguments(None, None)
    scores = example.loss.__globals__["model"](image).numpy()[0]
    assert (label.item(), scores.argmax()) == (digit, other)
    assert scores[other] > 3 + scores[digit], "on every machine"
    assert f"takes a {digit} for a {other}." in example.text


def test_xor_is_half_trained():
    example = examples.load("xor")
    x, target = example.data
    answers = cr.sigmoid(example.loss.__globals__["model"](x)).numpy()
    right = np.abs(answers - target.numpy())
    assert (right < 0.5).all()
    assert right.max() > 0.2


def test_few_units_of_the_spirals_carry_most_of_the_blame():
    example = examples.load("spirals")
    gradients = cr.explain(example.loss, *example.arguments(None, None)).gradients
    sizes = np.sort(np.abs(gradients["hidden2.bias"]))[::-1]
    assert sizes[:4].sum() > sizes.sum() / 2, "4 of 16"


def test_rows_of_an_example():
    xor = examples.load("xor")
    assert [a.shape for a in xor.arguments(None, None)] == [(4, 2), (4, 1)]
    assert [a.tolist() for a in xor.arguments(2, None)] == [[[1, 0]], [[1]]]
    assert [a.shape for a in xor.arguments(1, 2)] == [(2, 2), (2, 1)]
    assert [a.shape for a in examples.load("neuron").arguments(0, 1)] == [(2,), ()]


# ── the command ──────────────────────────────────────────────────────────────────────────────────


def test_the_page_of_an_example(capsys, tmp_path):
    code, out, _ = call(capsys, "explain", "neuron")
    assert code == 0
    assert out.splitlines()[0].startswith("One neuron. It weighs two inputs")
    assert neuron().story().rstrip() in out
    assert out.splitlines()[-1] == "page: explain-neuron.html"
    page = (tmp_path / "explain-neuron.html").read_text()
    assert "<title>One neuron</title>" in page
    assert '"gradients":{"w":' in page


@pytest.mark.parametrize("form", ["story", "text", "unicode", "latex", "numpy"])
def test_other_forms_are_printed(capsys, tmp_path, form):
    made = getattr(neuron(), form)()
    assert call(capsys, "explain", "neuron", "--form", form)[1].rstrip() == made.rstrip()
    assert not [*tmp_path.iterdir()]


def test_a_form_is_written_into_a_file(capsys, tmp_path):
    _, out, err = call(capsys, "explain", "neuron", "--form", "text", "--out", "n.txt")
    assert (out, err) == ("", "wrote n.txt\n")
    assert (tmp_path / "n.txt").read_text() == neuron().text()


def test_what_is_replaced_is_said(capsys, tmp_path):
    (tmp_path / "precious.npz").write_text("")
    arguments = "explain", "neuron", "--form", "numpy", "--out", "precious.txt"
    assert call(capsys, *arguments)[2] == "wrote precious.txt and precious.npz (replaced)\n"
    both = "wrote precious.txt (replaced) and precious.npz (replaced)\n"
    assert call(capsys, *arguments)[2] == both
    page = "explain", "neuron", "--out", "precious.txt"
    assert call(capsys, *page)[1].endswith("\npage: precious.txt (replaced)\n")


def test_a_program_and_its_arrays_need_two_files(capsys, tmp_path):
    (tmp_path / "link.py").symlink_to("link.npz")
    for name in ("a.npz", "a.NPZ", "link.py"):
        arguments = ["explain", "neuron", "--form", "numpy", "--out", name]
        expect_one_error(capsys, arguments, f"got {name} for a program")
    assert [p.name for p in tmp_path.iterdir()] == ["link.py"]


@pytest.mark.parametrize("name", ["/dev/null", "null.py", "/dev/fd/1"])
def test_beside_a_device_there_are_no_arrays(capfd, tmp_path, name):
    (tmp_path / "null.py").symlink_to("/dev/null")
    err = call(capfd, "explain", "neuron", "--form", "numpy", "--out", name)[2]
    assert err == f"wrote {name}\n"
    assert [p.name for p in tmp_path.iterdir()] == ["null.py"]
    assert not Path(name).with_suffix(".npz").exists()


def test_a_program_goes_through_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    command = f"{sys.executable} -m chainrule explain neuron --form numpy --out"
    (tmp_path / "log.txt").write_text("before\n")
    for name in ("pipe & cat pipe", "/dev/stdout", "/dev/stdout >> log.txt; tail -n +2 log.txt"):
        line = f"{command} {name}"
        done = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, text=True)
        assert done.stdout == neuron().numpy(), done.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"pipe", "log.txt"}


def test_the_file_of_a_program_needs_no_suffix(capsys, tmp_path):
    _, _, err = call(capsys, "explain", "neuron", "--form", "numpy", "--out", "n")
    assert err == "wrote n and n.npz\n"
    assert {p.name for p in tmp_path.iterdir()} == {"n", "n.npz"}


def test_a_program_runs_on_the_arrays_beside_it(capsys, tmp_path):
    _, _, err = call(capsys, "explain", "neuron", "--form", "numpy", "--out", "neuron.py")
    assert err == "wrote neuron.py and neuron.npz\n"
    program = (
        "import numpy as np, neuron, sys\n"
        "loss, gradients = neuron.loss_and_gradients(**np.load('neuron.npz'))\n"
        "assert not any(name.startswith('chainrule') for name in sys.modules)\n"
        "print(loss, gradients['w'].tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "0.25 [-0.25, -0.5]\n"


def test_as_json(capsys):
    _, out, _ = call(capsys, "explain", "neuron", "--json")
    report = json.loads(out)
    assert report["loss"] == 0.25
    assert report["page"] == "explain-neuron.html"
    assert report["gradients"]["w"] == {
        "shape": [2],
        "norm": pytest.approx(0.3125**0.5),
    }
    _, out, _ = call(capsys, "explain", "neuron", "--json", "--form", "text")
    assert json.loads(out)["text"] == neuron().text()


def test_the_list(capsys):
    lines = call(capsys, "explain", "--list")[1].splitlines()
    assert [line.split()[0] for line in lines] == [*examples.NAMES]
    listed = json.loads(call(capsys, "explain", "--list", "--json")[1])
    assert listed["xor"]["title"] == "XOR with three hidden units"


def test_a_run(capsys, tmp_path):
    runs.train(Recipe(source="iris", epochs=1), tmp_path / "flowers", progress=False)
    code, out, _ = call(capsys, "explain", "flowers", "--sample", 3)
    assert code == 0
    assert out.startswith("flowers, test row 3: ")
    page = tmp_path / "flowers" / "explain.html"
    assert out.splitlines()[-1] == f"page: {page.relative_to(tmp_path)}"
    assert '"gradients":{"layers.0.weight":' in page.read_text()
    expect_one_error(
        capsys, ["explain", "flowers", "--sample", 30], "expected samples from 0 to 29"
    )


def test_the_page_is_opened_where_there_is_a_browser(capsys, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(webbrowser, "open", lambda url: shown.append(url) or True)
    monkeypatch.setenv("DISPLAY", ":0")
    _, _, err = call(capsys, "explain", "neuron", "--open")
    assert shown == [(tmp_path / "explain-neuron.html").resolve().as_uri()]
    assert err == ""
    monkeypatch.setattr(webbrowser, "open", lambda url: False)
    _, _, err = call(capsys, "explain", "neuron", "--open")
    assert err.startswith("there is no browser here: open ")
    assert "explain-neuron.html" in err


def test_nothing_is_opened_without_a_screen(capsys, monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(webbrowser, "open", lambda url: pytest.fail(url))
    assert "no browser" in call(capsys, "explain", "neuron", "--open")[2]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "got no run and no example"),
        (["digit"], "did you mean 'digits'?"),
        (["runs/none-1"], "got runs/none-1, which does not exist"),
        (["."], "which has no recipe.toml"),
        (["xor", "--sample", 4], "got sample 4; expected samples from 0 to 3"),
        (["xor", "--batch", 5], "ask for a batch of 4, or less"),
        (["neuron", "--sample", 1], "expected sample 0 alone"),
        (["neuron", "--form", "text", "--open"], "leave out --open, or --form text"),
        (["neuron", "--out", "absent/page.html"], "in a folder that does not exist"),
        (["neuron", "--out", "."], "a folder; expected the path"),
        (["neuron", "--form", "numpy", "--out", "."], "a folder; expected the path"),
        (["neuron", "--form", "numpy", "--out", "/dev"], "a folder; expected the path"),
    ],
)
def test_errors_are_one_line(capsys, tmp_path, arguments, says):
    expect_one_error(capsys, ["explain", *arguments], says)
    assert not [*tmp_path.iterdir()], "no half of a file"
