"""Dump every stage of a fixed zoo of compiled steps, and compare the dumps of two commits.

A change that only moves or renames code leaves graph, program, plan and LLVM IR as they are. This
script shows it. Nothing is compiled to machine code, nothing is run, and the processors are fixed
ones, so a dump is the same on each machine.

    python tests/replay.py dump FOLDER                   one text file per step and stage
    python tests/replay.py compare REVISION [REVISION]   a diff per difference; exit status 1 if any
    python tests/replay.py digest [--write]              what tests/replay.json holds

`compare` takes the working tree as the second revision if there is only one. Each revision dumps
itself, by its own copy of this script, because internal interfaces move; `stages` is all of the
script that depends on them. What is compared is normalised first, by the copy that was called:
numbers of values, names of functions, and what `RENAMED` lists.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import hashlib
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

TESTS = Path(__file__).parent
STORED = TESTS / "replay.json"
_V3 = "+avx2,+bmi,+bmi2,+f16c,+fma,+lzcnt,+movbe"
_V4 = f"{_V3},+avx512f,+avx512bw,+avx512cd,+avx512dq,+avx512vl"
TARGETS = {  # name: triple, processor, features
    "v3": ("x86_64-unknown-linux-gnu", "x86-64-v3", _V3),
    "v4": ("x86_64-unknown-linux-gnu", "x86-64-v4", _V4),
    "arm": ("aarch64-unknown-linux-gnu", "generic", "+neon"),
}

# By stage: words that were renamed, as a pattern -> what they count as. An entry may go when no
# revision from before its rename is compared any more.
RENAMED: dict[str, dict[str, str]] = {"graph": {}, "program": {}, "plan": {}, "llvm": {}}


def stages(function: Any, arguments: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """(stage, text) of a step: its graph and program, then for each target its plan and LLVM IR.

    A stage of a target is named `plan.v3`. All that this script knows of internal interfaces is
    here.
    """
    import chainrule as cr
    from chainrule import backends
    from chainrule.backends import native
    from chainrule.backends.native.compilation import Compilation
    from chainrule.backends.native.processor import Target

    class LoweredError(Exception):
        """The program is there: nothing after it is wanted."""

    def build(program: Any) -> Any:
        raise LoweredError(program)

    backend = backends.Backend("replay", lambda: build, keeps_memory=True)
    compiled = cr.compile(function)
    with mock.patch.dict(os.environ, CHAINRULE_BACKEND="reference"):
        yield "graph", compiled.graph(*arguments)
    with mock.patch.object(backends, "current", return_value=backend):
        try:
            compiled.program(*arguments)
        except LoweredError as lowered:
            program = lowered.args[0]
    yield "program", str(program)
    before = {id(k.node) for k in program.kernels}
    rewritten = native.rewritten(program)
    new = [k for k in rewritten.kernels if id(k.node) not in before]
    for name, target in TARGETS.items():
        compilation = Compilation(rewritten, Target(*target), new)
        yield f"plan.{name}", f"{compilation}\n{compilation.schedule}"
        yield f"llvm.{name}", compilation.llvm()


# ── dumping and normalising ──────────────────────────────────────────────────────────────────────


def zoo() -> dict[str, Any]:
    """By name: what makes a step, as (function, arguments)."""
    for name in ("replay_networks", "replay_functions"):
        importlib.import_module(name)
    from replay_zoo import ZOO

    return ZOO


def dump() -> Iterator[tuple[str, str, str]]:
    """(step, stage, text), for the whole zoo."""
    for step, make in zoo().items():
        for stage, text in stages(*make()):
            yield step, stage, text


def normalised(stage: str, text: str) -> str:
    """The text without what a change of names alone would change."""
    kind = stage.partition(".")[0]
    for pattern, word in RENAMED[kind].items():
        text = re.sub(pattern, word, text)
    if kind == "llvm":
        return _normalised_llvm(text)
    return re.sub(r" at 0x[0-9a-f]+>", ">", text)  # how Python prints a rule of the user's


def _normalised_llvm(text: str) -> str:
    """Globals and, within each function, locals numbered as they come; declarations in order."""
    known = re.compile(r'@"?(llvm\.[\w.]+)"?')
    numbers: dict[str, str] = {}

    def outer(match: re.Match[str]) -> str:
        if known.fullmatch(match[0]):
            return match[0]
        return numbers.setdefault(match[0], f"@{len(numbers)}")

    declared: list[str] = []
    lines: list[str] = []
    inner: dict[str, str] = {}
    for line in text.splitlines():
        line = re.sub(r'@"[^"]*"|@[\w.]+', outer, line)
        if line.startswith("declare"):
            declared.append(line)
            continue
        if line.startswith("define"):
            inner = {}
        if label := re.fullmatch(r'"?([^":]+)"?:', line):
            line = f'%"{label[1]}":'

        def local(match: re.Match[str], inner: dict[str, str] = inner) -> str:
            return inner.setdefault(match[1], f"%{len(inner)}")

        lines.append(re.sub(r'%"([^"]*)"', local, line))
    return "\n".join([*sorted(declared), *lines]) + "\n"


def digests(texts: Iterable[tuple[str, str, str]]) -> dict[str, dict[str, str]]:
    """A digest of each stage's normalised text, by step and stage."""
    out: dict[str, dict[str, str]] = {}
    for step, stage, text in texts:
        digest = hashlib.sha256(normalised(stage, text).encode()).hexdigest()[:10]
        out.setdefault(step, {})[stage] = digest
    return out


def stored_text(table: Mapping[str, Mapping[str, str]]) -> str:
    """JSON with a line per step."""
    lines = (f"  {json.dumps(step)}: {json.dumps(stages)}" for step, stages in table.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


# ── comparing ────────────────────────────────────────────────────────────────────────────────────


def differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(step, stage) wherever two tables by step and stage are not equal."""
    pairs = {(step, stage) for t in (before, after) for step in t for stage in t[step]}
    missing = object()
    return sorted(
        (step, stage)
        for step, stage in pairs
        if before.get(step, {}).get(stage, missing) != after.get(step, {}).get(stage, missing)
    )


def texts_in(folder: Path) -> dict[str, dict[str, str]]:
    """What `dump` has written, normalised, by step and stage."""
    out: dict[str, dict[str, str]] = {}
    for path in sorted(folder.glob("*.txt")):
        step, _, stage = path.stem.partition(".")
        out.setdefault(step, {})[stage] = normalised(stage, path.read_text())
    return out


def difference(before: str, after: str, names: tuple[str, str]) -> str:
    """A unified diff."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), *names, lineterm="")
    return "\n".join(lines)


def dumped(root: Path, folder: Path) -> dict[str, dict[str, str]]:
    """The stages of the sources in a folder, as their own script dumps them."""
    script = root / "tests" / "replay.py"
    if not script.exists():
        sys.exit(f"[replay] {root} has no tests/replay.py; expected a revision that has one")
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(root / "src")}
    command = [sys.executable, str(script), "dump", str(folder)]
    subprocess.run(command, env=environment, check=True)
    return texts_in(folder)


def compare(revisions: Sequence[str]) -> int:
    """Print how the stages of two revisions differ; 1 if they do."""
    found = []
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as stack:
        for k, revision in enumerate(revisions):
            tree = Path(temporary) / f"tree{k}"
            git = ["git", "-C", str(TESTS.parent), "worktree"]
            subprocess.run([*git, "add", "-q", "--detach", str(tree), revision], check=True)
            stack.callback(subprocess.run, [*git, "remove", "--force", str(tree)], check=True)
            found.append(dumped(tree, Path(temporary) / f"dump{k}"))
        if len(revisions) == 1:
            found.append(dumped(TESTS.parent, Path(temporary) / "dump1"))
    before, after = found
    names = (*revisions, "the working tree")[:2]
    pairs = differing(before, after)
    for step, stage in pairs:
        old, new = (t.get(step, {}).get(stage, "") for t in (before, after))
        print(difference(old, new, tuple(f"{name}/{step}.{stage}" for name in names)))
    count = sum(map(len, after.values()))
    print(f"{len(pairs)} of {count} stages of {len(after)} steps differ")
    return 1 if pairs else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("dump").add_argument("folder", type=Path)
    commands.add_parser("compare").add_argument("revisions", nargs="+")
    commands.add_parser("digest").add_argument("--write", action="store_true")
    given = parser.parse_args()
    if given.command == "compare":
        return compare(given.revisions[:2])
    import chainrule

    sources = TESTS.parent / "src"
    if not Path(chainrule.__file__).is_relative_to(sources):
        parser.error(f"got chainrule from {chainrule.__file__}; set PYTHONPATH={sources}")
    if given.command == "dump":
        given.folder.mkdir(parents=True, exist_ok=True)
        for step, stage, text in dump():
            (given.folder / f"{step}.{stage}.txt").write_text(text + "\n")
        return 0
    text = stored_text(digests(dump()))
    if given.write:
        STORED.write_text(text)
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
