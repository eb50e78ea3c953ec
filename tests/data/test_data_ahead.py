"""Batches that a background thread prepares: the same in any case, and the thread ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.data import Augment, DataLoader, MixUp
from chainrule.data.ahead import Ahead
from chainrule.errors import ChainruleError, DtypeError
from chainrule.train import Callback

rng = np.random.default_rng(0)
X = rng.integers(0, 256, (50, 8, 8, 1), np.uint8)
Y = np.arange(50) % 3
AUGMENT = Augment(flip=True, shift=1, rotate=10, brightness=0.2, cutout=2)


def threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "chainrule data"]


@pytest.fixture(autouse=True)
def _threads_end() -> Iterator[None]:
    yield
    assert threads() == []


# ── results ahead of their use ───────────────────────────────────────────────────────────────────


def test_results_are_in_order_and_few_are_ahead() -> None:
    computed: list[int] = []

    def compute(k: int) -> int:
        computed.append(k)
        return k * k

    ahead = Ahead(compute, range(3, 20), most=4)
    for k in range(3, 20):
        time.sleep(0.002)
        assert len(computed) <= k - 3 + 4
        assert ahead.next() == k * k
    ahead.close()
    assert computed == list(range(3, 20))


def test_it_is_closed_while_it_is_ahead() -> None:
    for read in (0, 2):
        ahead = Ahead(lambda k: k, range(100), most=3)
        for k in range(read):
            assert ahead.next() == k
        ahead.close()
        assert threads() == []


def test_an_exception_is_raised_in_its_place() -> None:
    ahead = Ahead(lambda k: 6 // (2 - k), range(5), most=3)
    assert [ahead.next(), ahead.next()] == [3, 6]
    with pytest.raises(ZeroDivisionError):
        ahead.next()
    ahead.close()


# ── batches ──────────────────────────────────────────────────────────────────────────────────────


def epoch_of(loader: DataLoader, epoch: int = 0, start: int = 0) -> tuple[Any, Any]:
    parts = [(x.numpy(), y.numpy()) for x, y in loader.batches(epoch, start)]
    return tuple(np.concatenate(p) for p in zip(*parts, strict=True))  # type: ignore[return-value]


def test_a_row_changes_in_the_same_way_in_any_batch() -> None:
    """Whatever the size and order of batches; another change in each epoch and for each seed."""
    plain = DataLoader((X, Y), 50, augment=AUGMENT)
    x, y = epoch_of(plain, 2)
    np.testing.assert_array_equal(y, Y)
    for size, shuffle in ((7, False), (16, True), (1, True)):
        loader = DataLoader((X, Y), size, shuffle, augment=AUGMENT)
        order = loader.order(2)
        found, targets = epoch_of(loader, 2)
        np.testing.assert_array_equal(found, x[order])
        np.testing.assert_array_equal(targets, Y[order])
    assert (epoch_of(plain, 1)[0] != x).any()
    assert (epoch_of(DataLoader((X, Y), 50, seed=1, augment=AUGMENT), 2)[0] != x).any()
    assert (x != X).any(), "and the data is as it was"


@pytest.mark.parametrize("augment", [AUGMENT, MixUp(3), [AUGMENT, MixUp(3)]], ids=repr)
def test_an_epoch_is_resumed_in_the_middle(augment: Any) -> None:
    loader = DataLoader((X, Y), 8, shuffle=True, augment=augment)
    whole = [a.numpy() for pair in loader.batches(1) for a in pair]
    rest = [a.numpy() for pair in loader.batches(1, 4) for a in pair]
    for a, b in zip(whole[8:], rest, strict=True):
        np.testing.assert_array_equal(a, b)
    with loader.reader(1, 0) as reader:
        assert reader.alike() == 4
        rows = [reader.rows(n) for n in (3, 1, 2, 1)]
    for k in (0, 1):
        joined = np.concatenate([part[k] for part in rows])
        np.testing.assert_array_equal(joined, np.concatenate(whole[k::2]))


def test_several_augmentations_have_their_own_numbers() -> None:
    seen: list[Any] = []

    def note(x: Any, y: Any, draws: Any) -> tuple[Any, Any]:
        seen.append(draws.uniform(2))
        return x.astype(np.float64), y

    ((x, _),) = DataLoader((X, Y), 50, augment=[note, note]).batches(0)
    assert x.dtype == cr.float32
    assert len(np.unique(np.concatenate(seen))) == 200


def test_an_iterator_that_is_left_ends_its_thread() -> None:
    for _ in DataLoader((X, Y), 4, augment=AUGMENT):
        break
    batches = DataLoader((X, Y), 4, augment=AUGMENT).batches(0)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert threads() == []


def test_errors_of_augmentations() -> None:
    def spoil(x: Any, y: Any, draws: Any) -> Any:
        if 30 in draws.rows:
            raise ZeroDivisionError
        return x, y

    batches = DataLoader((X, Y), 8, augment=spoil).batches(0)
    assert [len(next(batches)[1]) for _ in range(3)] == [8, 8, 8]
    with pytest.raises(ZeroDivisionError):
        next(batches)
    with pytest.raises(DtypeError, match="got int in augment; expected functions"):
        DataLoader((X, Y), augment=[3])  # type: ignore[list-item]
    with pytest.raises(ChainruleError, match=r"expected a pair \(x, y\)"):
        DataLoader(X, augment=AUGMENT)
    with pytest.raises(ChainruleError, match=r"augment=cr.data.Augment"):
        DataLoader((X, Y), transform=AUGMENT)  # type: ignore[call-arg]


# ── training ─────────────────────────────────────────────────────────────────────────────────────


class Scaled(nn.Module):
    def __init__(self) -> None:
        cr.random.seed(0)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3))

    def forward(self, x: Any) -> Any:
        return self.layers(x.astype("float32") / 255)


class Stop(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, run: Any) -> None:
        if run.step == self.step:
            run.stop()


class Fail(Callback):
    def on_step(self, run: Any) -> None:
        if run.step == 4:
            raise KeyboardInterrupt


def trained(model: nn.Module, augment: Any, **settings: Any) -> Any:
    loader = DataLoader((X, Y), 8, shuffle=True, augment=augment)
    return cr.fit(
        model,
        loader,
        valid=(X, Y),
        loss="cross_entropy",
        metrics="accuracy",
        epochs=4,
        progress=False,
        **settings,
    )


@pytest.mark.parametrize("augment", [AUGMENT, [AUGMENT, MixUp(3)]], ids=["Augment", "MixUp"])
def test_a_run_that_is_stopped_and_resumed_has_the_same_bits(augment: Any, tmp_path: Path) -> None:
    whole, eager, resumed = Scaled(), Scaled(), Scaled()
    history = trained(whole, augment)
    assert trained(eager, augment, callbacks=[Stop(99)])["loss"] == history["loss"], "one by one"
    trained(resumed, augment, checkpoint=tmp_path, callbacks=[Stop(10)])
    assert threads() == []
    again = Scaled()
    assert trained(again, augment, checkpoint=tmp_path, resume=True)["loss"] == history["loss"]
    for name, value in whole.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], value)


def test_another_augmentation_is_named_when_a_run_is_resumed(tmp_path: Path) -> None:
    trained(Scaled(), AUGMENT, checkpoint=tmp_path, callbacks=[Stop(10)])
    with pytest.warns(UserWarning, match=r"augment is \['Augment\(shift=2\)'\] now"):
        trained(Scaled(), Augment(shift=2), checkpoint=tmp_path, resume=True)


def test_windows_are_not_augmented() -> None:
    loader = DataLoader((np.zeros((4, 6, 2), np.float32), np.zeros((4, 6))), 2, augment=AUGMENT)
    with pytest.raises(ChainruleError, match="leave out augment, or tbptt"):
        cr.fit(nn.LSTM(2, 1), loader, loss="mse", tbptt=3, progress=False)


def test_a_run_that_fails_ends_its_thread() -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(Scaled(), AUGMENT, callbacks=[Fail()])
    assert threads() == []
