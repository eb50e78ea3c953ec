"""What the doctor finds in the programs of a collection, for its `score.py` to judge.

    python benchmarks/doctor.py --cases FILE --out findings.json [--jobs 2] [--seconds 10] [CASE …]
    python benchmarks/doctor.py --torch …          the same programs, in PyTorch
    python benchmarks/doctor.py --random SEED …    the best of random remedies, at equal budget

The doctor gets the arrays, the network, loss, optimizer, batch and epochs of each program, and
nothing that a case says about its fault, nor its twin. `doctor_report.py` puts the results of
several runs side by side.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.diagnosis import Change, Finding
from chainrule.doctor.changes import alike
from chainrule.doctor.modules import ModuleTraining
from chainrule.doctor.runnable import Runnable
from chainrule.doctor.search import find
from programs.collection import Collection
from programs.program import Built, Program
from programs.random_search import best_of_random
from programs.remedies import WEIGHTED, as_patch
from programs.training import augmented

SECONDS = 10.0  # of processor time for the trials of a program

WITHOUT_WORDS = "recurrent", "memory", "residual"

collection_of = functools.cache(Collection)  # in each process: its data are read once


def training_of(built: Built) -> ModuleTraining:
    """A program as the doctor sees it; penalties are weight decay."""
    optimizer, arrays = built.optimizer, built.arrays
    (group,) = optimizer.param_groups
    settings = {name: group[name] for name in group if name not in ("weight_decay", "initial_lr")}
    by_decay = _by_decay(built.model, built.penalties)
    groups = [{"params": ps, "weight_decay": decay} for decay, ps in by_decay.items()]
    optimizer = type(optimizer)(groups, **settings)
    augment = None
    if built.augment is not None:
        spec = built.augment
        augment = lambda x, random: augmented(x, spec, random)  # noqa: E731
    return ModuleTraining(
        built.model,
        built.loss,
        optimizer,
        (arrays.x, arrays.y),
        (arrays.x_test, arrays.y_test),
        built.batch,
        built.epochs,
        built.shuffle,
        built.clip_norm,
        augment=augment,
    )


def _by_decay(model: Any, penalties: Mapping[str, float]) -> dict[float, list[tuple[str, Any]]]:
    """The parameters by their weight decay, whose gradient is that of the penalty."""
    out: dict[float, list[tuple[str, Any]]] = {}
    for name, p in model.named_parameters():
        out.setdefault(2 * penalties.get(name, 0.0), []).append((name, p))
    return out


def torch_training_of(build: Any, program: Program, seed: int = 0) -> Runnable:
    """The same in PyTorch, with weights of its own; `build` is the module build.py."""
    import torch

    from chainrule.doctor.pytorch.modules import TorchTraining
    from programs.torch_network import network

    recipe, a = program.recipe, program.arrays
    model, penalties = network(build, program, seed)
    (decay, first), *others = (
        (decay, [p for _, p in ps]) for decay, ps in _by_decay(model, penalties).items()
    )
    optimizer = build.Optimizer(torch, recipe["optimizer"], first).inner
    optimizer.param_groups[0]["weight_decay"] = decay
    for decay, params in others:
        optimizer.add_param_group({"params": params, "weight_decay": decay})
    for group in optimizer.param_groups:
        group["maximize"] = bool(recipe["optimizer"].get("ascent"))
    augment = None
    if recipe.get("augment"):
        augment = lambda x, random: _first(  # noqa: E731
            augmented(np.moveaxis(x, 1, -1), recipe["augment"], random)
        )
    return TorchTraining(
        model,
        lambda prediction, target: build.loss_of(torch, recipe["loss"], prediction, target),
        optimizer,
        (_first(a.x), a.y),
        (_first(a.x_test), a.y_test),
        recipe["batch"],
        recipe["epochs"],
        recipe.get("shuffle", True),
        recipe["optimizer"].get("clipnorm"),
        augment=augment,
    )


def _first(x: np.ndarray) -> np.ndarray:
    """Images with their channels first."""
    return np.ascontiguousarray(np.moveaxis(x, -1, 1)) if x.ndim == 4 else x


def row(job: tuple[Path, str, str, float, bool]) -> tuple[str, str, list[dict[str, Any]], float]:
    """The findings of a program, in the form that is judged."""
    cases, name, which, seconds, by_torch = job
    collection = collection_of(cases)
    program = collection.program(name, which)
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if by_torch:
            training: Runnable = torch_training_of(collection.build, program)
        else:
            training = training_of(program.build())
        findings, _ = find(training, seconds)
    judged = [as_judged(finding, program) for finding in findings]
    return name, which, judged, time.perf_counter() - began


def random_row(
    job: tuple[Path, str, float, int],
) -> tuple[str, str, list[dict[str, Any]], float]:
    """The best random remedy of a program in the same form, as a finding without a kind."""
    cases, name, seconds, seed = job
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        remedy = best_of_random(collection_of(cases), name, seconds, seed)
    findings = [] if remedy is None else [{"kind": "random", "where": "", "remedy": remedy}]
    return name, "faulty", findings, time.perf_counter() - began


def as_judged(finding: Finding, program: Program) -> dict[str, Any]:
    """A finding with its place and its first remedy in the collection's language."""
    out: dict[str, Any] = {"kind": finding.kind, "where": place(finding.place)}
    if finding.remedies:
        changes = [c for change in finding.remedies[0].changes for c in in_recipe(change, program)]
        out["remedy"] = as_patch(changes, program.recipe)
    return out


def place(path: str) -> str:
    """The layer of the recipe that a module's path belongs to."""
    return ".".join(path.split(".")[:2]) if path.startswith("layers.") else path


def in_recipe(change: Change, program: Program) -> list[tuple[str, str, Any]]:
    """A change as the collection's language has it; none, if it has no words for it."""
    where, value = place(change.place), change.value
    if change.what == "scale":
        x = program.arrays.x
        if where == "data.inputs" and alike(x):
            low, high = (float((v - x.mean()) / x.std()) for v in (x.min(), x.max()))
            return [("scale", where, {"op": "minmax", "whole": True, "to": [low, high]})]
        return [("scale", where, "standardise")]
    if change.what == "binary":
        return [("scale", where, "minmax")]
    if change.what in ("match", "match_held_out"):
        split = "train" if change.what == "match" else "test"
        step = {"op": "multiply", "split": split, "by": value}
        return [("scale", where, step)]
    if change.what == "loss" and value == "bce_probs" and _has_classes(program):
        return [("loss", where, "bce_one_hot")]
    if change.what == "optimizer":
        return [("optimizer", where, {"name": value[0], "lr": value[1]})]
    if change.what == "remove":
        return [("remove", where, None)]
    if change.what == "decay":
        layers = enumerate(program.recipe["layers"])
        decays = [n for n, a in layers if a.get("l2") or (value and a["type"] in WEIGHTED)]
        return [("l2", f"layers.{n}", value / 2) for n in decays]
    if change.what == "units":
        return [("width", where, value)]
    if change.what == "clip":
        return [("clip", "optimizer", value)]
    if change.what in WITHOUT_WORDS or (
        change.what == "initialisation" and not _is_plain(where, program)
    ):
        return []
    if change.what == "insert":
        index = int(where.split(".")[1])
        return [("insert", f"layers.{index + 1}", {"type": "batchnorm"})]
    return [(change.what, where, value)]


def _has_classes(program: Program) -> bool:
    """Whether targets are the numbers of classes, each of which has an output."""
    sizes = [layer["size"] for layer in program.recipe["layers"] if layer["type"] == "dense"]
    return program.arrays.y.dtype.kind == "i" and bool(sizes) and sizes[-1] > 1


def _is_plain(where: str, program: Program) -> bool:
    """Whether a layer's first weights have a word in the collection's language."""
    layer = program.recipe["layers"][int(where.split(".")[1])]
    return layer["type"] in ("dense", "conv2d")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--torch", action="store_true", help="the same programs in PyTorch")
    parser.add_argument("--random", type=int, metavar="SEED", help="random remedies instead")
    parser.add_argument("only", nargs="*", metavar="CASE")
    a = parser.parse_args()
    programs = [
        (name, which)
        for name, which, _ in collection_of(a.cases).programs()
        if not a.only or name in a.only
    ]
    work: Callable[[Any], tuple[str, str, list[dict[str, Any]], float]] = row
    jobs: list[Any] = [(a.cases, name, which, a.seconds, a.torch) for name, which in programs]
    if a.random is not None:
        faulty = [name for name, which in programs if which == "faulty"]
        work, jobs = random_row, [(a.cases, name, a.seconds, a.random) for name in faulty]
    out: dict[str, dict[str, Any]] = {}
    began = time.perf_counter()
    failed = 0
    with multiprocessing.get_context("spawn").Pool(a.jobs) as pool:
        for job, result in [(job, pool.apply_async(work, (job,))) for job in jobs]:
            try:
                name, which, findings, seconds = result.get()
            except Exception:  # of one program: the others count
                failed += 1
                print(f"{job[1]} failed: {traceback.format_exc()}", file=sys.stderr, flush=True)
                continue
            out.setdefault(name, {})[which] = findings
            kinds = ", ".join(f"{f['kind']} ({f['where']})" for f in findings)
            print(f"{name} {which} {seconds:.1f} s: {kinds or 'nothing'}", flush=True)
    a.out.write_text(json.dumps(out, indent=1))
    print(f"{len(jobs)} programs in {time.perf_counter() - began:.0f} s")
    if failed:
        sys.exit(f"{failed} of them failed")


if __name__ == "__main__":
    main()
