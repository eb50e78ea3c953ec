"""`chainrule bench`: what it says of a work, and what it refuses."""

import dataclasses
import json
import re
import runpy
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

import chainrule as cr
from chainrule.cli import bench, workloads
from chainrule.cli.workloads import images, programs
from commands import call, expect_one_error, shell

FIELDS = {
    "work",
    "network",
    "batch",
    "us",
    "first_seconds",
    "gflops",
    "product_gflops",
    "floor_share",
    "torch_us",
    "ratio",
}


def test_a_work_as_json():
    out = shell("bench", "tiny", "--threads", "1", "--seconds", "0.05", "--json").stdout
    found = json.loads(out)
    assert found["threads"] == 1
    assert found["backend"] == "native"
    (row,) = found["works"]
    assert set(row) == FIELDS
    assert (row["work"], row["network"], row["batch"]) == ("tiny", "2-16-16-2", 32)
    assert 0 < row["us"] < 1e6 * row["first_seconds"]
    assert row["floor_share"] == pytest.approx(row["gflops"] / row["product_gflops"])
    if find_spec("torch"):
        assert row["ratio"] == pytest.approx(row["torch_us"] / row["us"])


@pytest.fixture
def figures(monkeypatch):
    """Measures nothing: every program takes 100 µs; keeps what was to be measured."""
    asked = []

    def measure(script, program, work, threads, seconds, **environment):
        asked.append((program, work, threads, environment["CHAINRULE_BACKEND"]))
        return {"first": 0.5, "us": 100.0, "peak": 10**8}

    monkeypatch.setattr(bench, "measure", measure)
    monkeypatch.delenv("CHAINRULE_BACKEND", raising=False)
    return asked


def test_every_work_by_default(capsys, figures):
    code, out, _ = call(capsys, "bench", "--threads", "1")
    assert code == 0
    rows = out.split("\n\n")[0].splitlines()
    assert [row.split()[0] for row in rows] == ["work", *bench.WORKLOADS]
    assert "native backend, 1 thread\n" in out
    assert max(map(len, rows)) <= 80


def test_the_programs_take_turns(capsys, figures, monkeypatch):
    monkeypatch.setattr(bench, "find_spec", lambda name: None)
    _, out, _ = call(capsys, "bench", "tiny", "tiny", "--threads", "2")
    assert "torch" not in out.replace("torch: not installed, not compared", "")
    once = [(program, "tiny", 2, "native") for program in ("chainrule", "product")]
    assert figures == once * bench.ROUNDS


def test_the_backend_that_the_user_has_set(capsys, figures, monkeypatch):
    monkeypatch.setenv("CHAINRULE_BACKEND", "reference")
    assert json.loads(call(capsys, "bench", "tiny", "--json")[1])["backend"] == "reference"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["tinny"],
            f"got tinny; expected one of {', '.join(workloads.WORKLOADS)}; did you mean tiny?",
        ),
        (["nothing-like-it"], "leave it out for all"),
        (["--threads", "0"], "got --threads 0; expected a whole number from 1 to 128"),
        (["--threads", "129"], "got --threads 129"),
        (["--threads", "two"], "[bench] got a call that it does not know"),
        (["--seconds", "0"], "got --seconds 0; expected a number above 0"),
        (["--seconds", "nan"], "got --seconds nan"),
        (["--seconds", "inf"], "got --seconds inf"),
    ],
    ids=" ".join,
)
def test_a_wrong_call(capsys, arguments, says):
    expect_one_error(capsys, ["bench", *arguments], says)


def test_a_backend_that_does_not_exist(capsys, monkeypatch):
    monkeypatch.setenv("CHAINRULE_BACKEND", "gpu")
    expect_one_error(capsys, ["bench", "tiny"], "got CHAINRULE_BACKEND='gpu'")
    monkeypatch.setenv("CHAINRULE_BACKEND", "Native ")
    expect_one_error(capsys, ["bench", "tiny"], "did you mean native?")


def test_what_a_reader_has_to_know_of_the_figures(capsys, figures, monkeypatch):
    """Every program takes 100 µs: that the product does so too is more than any machine can."""
    monkeypatch.setattr(bench, "find_spec", lambda name: None)
    _, out, _ = call(capsys, "bench", "tiny", "--threads", "128")
    assert "rows of a batch: tiny 32\n" in out
    assert "up to 128 threads on " in out
    assert "above 100%" not in out
    assert "torch: not installed" in out
    monkeypatch.setattr(bench, "PRODUCT", 16)  # then the large product is a slow one
    _, out, _ = call(capsys, "bench", "wide", "--threads", "1")
    assert "above 100%" in out


def test_a_program_that_fails(tmp_path):
    script = tmp_path / "fails.py"
    script.write_text("raise SystemExit('no; luck')")
    with pytest.raises(cr.ChainruleError, match="no result of chainrule on tiny: no, luck; "):
        bench.measure(script, "chainrule", "tiny", 1, 0.1)


# Rows, inputs and outputs of each product of the forward pass, and whether it reads the data.
PRODUCTS = {
    "tiny": [(32, 2, 16, True), (32, 16, 16, False), (32, 16, 2, False)],
    "mnist": [(128, 784, 256, True), (128, 256, 128, False), (128, 128, 10, False)],
    "lstm": [(2048, 64, 1024, False), (2048, 256, 1024, False), (2048, 256, 64, False)],
    "gpt": [
        *[(1024, 128, 384, False), (64 * 64, 32, 64, False), (64 * 64, 64, 32, False)] * 4,
        *[(1024, 128, 128, False), (1024, 128, 512, False), (1024, 512, 128, False)] * 4,
        (1024, 128, 64, False),
    ],
    "factors": [],
    "scan": [(2048, 32, 256, True), (2048, 128, 256, False), (32, 128, 10, False)],
    # Of a convolution: pixels of the result, channels read × kernel, channels of the result.
    "cnn": [
        (64 * 28 * 28, 25, 16, True),
        (64 * 14 * 14, 25 * 16, 32, False),
        *[(64, 1568, 128, False), (64, 128, 10, False)],
    ],
    "cnn3": [
        *[(64 * 32 * 32, 9 * 3, 32, True), (64 * 32 * 32, 9 * 32, 32, False)],
        *[(64 * 16 * 16, 9 * 32, 64, False), (64 * 16 * 16, 9 * 64, 64, False)],
        *[(64 * 8 * 8, 9 * 64, 128, False), (64 * 8 * 8, 9 * 128, 128, False)],
        (64, 128, 10, False),
    ],
    "lenet5": [
        *[(96 * 24 * 24, 25, 6, True), (96 * 8 * 8, 25 * 6, 16, False)],
        *[(96, 256, 120, False), (96, 120, 84, False), (96, 84, 10, False)],
    ],
    "depthwise": [
        (32 * 1024, 27, 32, True),
        *[(32 * 1024, 32, 128, False), (32 * 1024, 9, 128, False), (32 * 1024, 128, 32, False)],
        *[(32 * 1024, 32, 128, False), (32 * 256, 9, 128, False), (32 * 256, 128, 48, False)],
        *[(32 * 256, 48, 192, False), (32 * 256, 9, 192, False), (32 * 256, 192, 48, False)],
        *[(32 * 256, 48, 192, False), (32 * 64, 9, 192, False), (32 * 64, 192, 64, False)],
        (32, 64, 10, False),
    ],
    "resnet20": [
        *[(128 * 1024, 27, 16, True), *[(128 * 1024, 144, 16, False)] * 6],
        *[(128 * 256, 144, 32, False), (128 * 256, 16, 32, False)],
        *[(128 * 256, 288, 32, False)] * 5,
        *[(128 * 64, 288, 64, False), (128 * 64, 32, 64, False)],
        *[(128 * 64, 576, 64, False)] * 5,
        (128, 64, 10, False),
    ],
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_operations_are_those_of_the_products(name):
    each = [2 * m * n * k * (2 if data else 3) for m, k, n, data in PRODUCTS[name]]
    assert workloads.WORKLOADS[name].operations == sum(each)


SMALL = {
    "layers": workloads.WORKLOADS["tiny"],
    "lstm": workloads.Lstm(batch=2, steps=3, vocabulary=4, inputs=3, hidden=5),
    "gpt": workloads.Gpt(batch=2, steps=3, vocabulary=4, blocks=1, width=4, heads=2),
    "factors": workloads.Factors(4, (30, 20), 3),
    "scan": workloads.Recurrence(batch=3, steps=4, inputs=2, hidden=5, classes=3),
    "images": workloads.Images(
        3,
        (6, 5, 2),
        "every kind of layer",
        (
            *(*images.normed(4), "relu6", images.Conv(4, 1), "pool"),
            *images.residual_block(4, 8, 1),
            *images.inverted_block(8, 8, 1),
            *("flatten", images.Linear(3)),
        ),
    ),
}
IMAGES = [n for n, work in workloads.WORKLOADS.items() if isinstance(work, workloads.Images)]


@pytest.mark.parametrize("name", SMALL)
def test_a_step_trains(name):
    step = programs.chainrule(SMALL[name])
    first = float(step())
    for _ in range(200):
        last = float(step())
    assert last < first


@pytest.mark.parametrize("name", SMALL)
def test_the_same_step_in_torch(name):
    """The same parameters; a loss of the same form; it trains."""
    torch = pytest.importorskip("torch")
    work = SMALL[name]
    ours, theirs = work.network(cr), work.network(torch)
    ours, theirs = (sorted(sorted(p.shape) for p in model.parameters()) for model in (ours, theirs))
    assert ours == theirs
    step = programs.torch(work)
    losses = [float(step()) for _ in range(100)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", IMAGES)
def test_a_convolutional_network_in_torch(name):
    """Loss and norm of the gradient are PyTorch's in float64, from the same weights."""
    torch = pytest.importorskip("torch")
    work = dataclasses.replace(workloads.WORKLOADS[name], batch=4)
    x, y = work.rows()
    ours, theirs = work.network(cr), work.network(torch)
    cr.interop.torch.load_state_dict(ours, theirs.state_dict())
    loss = work.loss(cr)(ours(cr.Tensor(x)), cr.Tensor(y))
    loss.backward()
    images_first = torch.from_numpy(x).permute(0, 3, 1, 2).double()
    their_loss = work.loss(torch)(theirs.double()(images_first), torch.from_numpy(y))
    their_loss.backward()
    assert float(loss) == pytest.approx(their_loss.item(), rel=1e-5)
    clips = cr.nn.utils.clip_grad_norm_, torch.nn.utils.clip_grad_norm_
    norms = [
        float(clip(m.parameters(), 1.0)) for clip, m in zip(clips, (ours, theirs), strict=True)
    ]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_the_layouts_of_torch_compute_the_same():
    torch = pytest.importorskip("torch")
    losses = []
    for channels_last in (False, True):
        torch.manual_seed(0)
        step = programs.torch(SMALL["images"], channels_last=channels_last)
        losses.append([float(step()) for _ in range(3)])
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_the_images_of_a_work_are_compared_channels_last(capsys, figures, monkeypatch):
    monkeypatch.setattr(bench, "find_spec", lambda name: True)
    _, out, _ = call(capsys, "bench", "lenet5", "--threads", "1")
    assert "fused Adam, images channels last\n" in out
    assert {program for program, *_ in figures} == {"chainrule", "product", "torch, channels last"}


def test_the_command_of_a_process(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["process.py", "sleep", "tiny", "0.001"])
    monkeypatch.delitem(sys.modules, "workloads", raising=False)
    process = runpy.run_path(str(workloads.SCRIPT))
    process["main"]({"sleep": lambda work: lambda: None})
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"first", "us", "peak"}
    assert found["peak"] > 10**6


def test_a_process_contains_the_measured_program_alone():
    command = [sys.executable, "-P", "-X", "importtime", workloads.SCRIPT]
    done = subprocess.run(
        [*command, "product", "tiny", "0.001"], capture_output=True, text=True, check=True
    )
    modules = re.findall(r"\| +(\S+)$", done.stderr, re.M)
    assert "workloads.images" in modules
    assert not [name for name in modules if name.split(".")[0] in ("chainrule", "torch")]
