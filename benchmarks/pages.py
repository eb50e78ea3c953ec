"""RESULTS.md and training.svg, from what the parts have kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from chainrule.cli.workloads import PRODUCT, WORKLOADS, Layers
from chainrule.train.charts.drawing import Axis, Chart, extent, finish, number, text_at, xy

Found = dict[str, Any]

# How many times the speed of the fastest peer a step must have.
TARGETS = {
    "tiny": 20,
    "digits": 7,
    "mnist": 1.9,
    "wide": 1.05,
    "deep": 4,
    "lstm": 1.25,
    "gpt": 1.5,
    "factors": 15,
    "scan": 1.25,
    "cnn": 1.6,
    "cnn3": 1.1,
    "lenet5": 1.6,
    "depthwise": 1.1,
    "resnet20": 1.1,
}
BEYOND = {"cnn": 2.5, "cnn3": 1.6}  # the same, hoped for
SAMPLE = {"lenet5": 18.0}  # µs per image that meet the target as well: SimpleChains.jl's figure
COLD, WARM = 1.0, 0.1  # seconds of the first step, at most
LATE = 2.0  # times that, for networks that are more than linear layers
EAGER = 2.5  # times PyTorch's eager time, at most
ROLES = ("result", "input", "weights")  # a layer's products
PRODUCT_SHARE = 0.9  # of the speed of NumPy's product, at least
DISTURBED = 1.25  # times its best: the control of a work that does not count

HEAD = """\
Written by `benchmarks/run.py`; not edited by hand. Every figure is a median. The control is a
512×512 float32 product through NumPy: a slow machine is not mistaken for slow code."""
STEPS = f"""\
Forward, loss, backward, clip by global norm 1, Adam, in float32; scikit-learn does not clip, nor
does factors. torch is eager; it and torch.compile have the fused Adam, for factors SparseAdam.
jax.jit has donated arguments; for factors it changes whole tables. With one thread, each process
is pinned to one processor. The floor is the time of the step's matrix products at the speed of a
{PRODUCT}×{PRODUCT} one through NumPy; a convolution counts as the product over unfolded images. A
target is a ratio over the fastest of the others; with one thread it is to be no slower.

Images (cnn, cnn3, lenet5, depthwise, resnet20): chainrule, torch.compile and jax.jit have them
channels last, torch both ways. jax.jit does not keep the running statistics of batch normalization.
lenet5 is the network of SimpleChains.jl's published run on MNIST; its batch, as far as known, is 96
per thread there, and 96 here."""

PRODUCTS = """\
GFLOP/s of chainrule / of NumPy's OpenBLAS, and the ratio. Each product alone, as the works have it:
the result of a layer, the gradient of its input, that of its weights; convolutions over unfolded
images. Ours runs many times in one native call, as products do within a step; with two threads,
one that is too short to share runs on one. Of rounds in turn the best counts."""

LAYERS = f"""\
Each convolution alone, channels last, its padding half of its kernel: inputs → outputs, kernel:
images × sizes. The share is that of the peak, which is the speed of a {PRODUCT}×{PRODUCT} product
through NumPy on one thread, also for two threads: they may reach 200%. Operations are those of the
direct convolution. Depthwise convolutions are bound by memory: GB/s is the bytes of input, weights
and result, each once, over the time. The best of several rounds counts."""


def results(found: dict[str, Found]) -> Iterator[str]:
    """The page, line by line."""
    yield "# Results"
    yield ""
    yield HEAD
    for part, write in PARTS.items():
        if part in found:
            yield ""
            yield from write(found[part])


def about(found: Found) -> Iterator[str]:
    yield ""
    if found["quick"]:
        yield "**A quick try: these figures are not to be relied on.**"
        yield ""
    yield f"- date: {found['date']}"
    yield f"- machine: {found['machine']}"
    yield "- versions: " + ", ".join(f"{k} {v}" for k, v in found["versions"].items())


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    heads = list(heads)
    yield ""
    yield f"| {' | '.join(heads)} |"
    yield "|" + "---|" * len(heads)
    for cells in rows:
        yield f"| {' | '.join(cells)} |"


def speed(us: float) -> str:
    return f"{us:.0f} µs, {2 * 512**3 / us / 1e3:.0f} GFLOP/s"


def verdict(met: bool) -> str:
    return "met" if met else "**missed**"


# ── training steps ───────────────────────────────────────────────────────────────────────────────


def training(found: Found) -> Iterator[str]:
    yield "## Training steps"
    yield ""
    yield STEPS
    yield from about(found)
    yield ""
    yield f"One process a figure, rounds in turn: {found['rounds']} of {found['seconds']:g} s."
    yield "Of each program the best round counts; `results/training.json` has them all."
    yield ""
    yield "![Times the speed of the fastest of the others](training.svg)"
    for threads in sorted({row["threads"] for row in found["rows"]}):
        rows = [row for row in found["rows"] if row["threads"] == threads]
        yield ""
        yield f"### {threads} thread{'s' * (threads > 1)}"
        yield from steps(rows)
        yield ""
        yield f"Seconds of the first step, cold / warm cache; targets: below {COLD:g} / {WARM:g},"
        yield f"of networks that are more than linear layers {LATE:g} times that."
        yield "Importing a program, and wrapping its step, is not in it, for none of them."
        yield from by_program(rows, first, first_verdict)
        yield ""
        yield "Peak memory of the process, MB, the most of all rounds; target: below torch's."
        yield from by_program(rows, memory, memory_verdict)
        yield ""
        yield from controls(rows)


def names(rows: list[Found]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row["programs"]))


def ratio(row: Found) -> float | None:
    """How many times the speed of the fastest of the others; None if there are none."""
    others = [p["us"] for name, p in row["programs"].items() if name != "chainrule"]
    return min(others) / row["programs"]["chainrule"]["us"] if others else None


def steps(rows: list[Found]) -> Iterator[str]:
    def cells(row: Found) -> Iterator[str]:
        yield row["work"]
        yield f"{row['network']}, batch {row['batch']}"
        programs, floor = row["programs"], row["floor_us"]
        yield from (f"{programs[p]['us']:,.1f}" if p in programs else "–" for p in names(rows))
        yield f"{floor:,.1f}" if floor else "–"
        yield f"{floor / programs['chainrule']['us']:.0%}" if floor else "–"
        reached = ratio(row)
        yield "–" if reached is None else f"{reached:.2f}×"
        yield target(row, reached)

    heads = ["work", "network", *(f"{name}, µs" for name in names(rows)), "floor, µs"]
    yield from table([*heads, "share of the floor", "over the fastest", "target"], map(cells, rows))


def target(row: Found, reached: float | None) -> str:
    """What a work has to reach, and whether it does; beyond one thread also what is hoped for."""
    name, many = row["work"], row["threads"] > 1
    wanted, sample = (TARGETS[name], SAMPLE.get(name)) if many else (1, None)
    text = f"{wanted:g}×" + (f" or {sample:g} µs per image" if sample else "")
    taken = row["programs"]["chainrule"]["us"] / row["batch"]
    if reached is not None:
        text += f", {verdict(reached >= wanted or taken <= (sample or 0))}"
    return text + (f"; beyond: {BEYOND[name]:g}×" if many and name in BEYOND else "")


def by_program(
    rows: list[Found], shown: Callable[[Found], str], judged: Callable[[Found], str]
) -> Iterator[str]:
    def cells(row: Found) -> Iterator[str]:
        programs = row["programs"]
        yield row["work"]
        yield from (shown(programs[name]) if name in programs else "–" for name in names(rows))
        yield judged(row)

    yield from table(["work", *names(rows), "target"], map(cells, rows))


def first(program: Found) -> str:
    warm = program["warm_seconds"]
    return f"{program['cold_seconds']:.3f} / " + ("–" if warm is None else f"{warm:.3f}")


def first_verdict(row: Found) -> str:
    ours = row["programs"]["chainrule"]
    times = 1 if isinstance(WORKLOADS[row["work"]], Layers) else LATE
    cold, warm = ours["cold_seconds"] < times * COLD, ours["warm_seconds"]
    return f"{verdict(cold)} / " + ("–" if warm is None else verdict(warm < times * WARM))


def memory(program: Found) -> str:
    return f"{program['peak_bytes'] / 1e6:.0f}"


def memory_verdict(row: Found) -> str:
    programs = row["programs"]
    if "torch" not in programs:
        return "–"
    return verdict(programs["chainrule"]["peak_bytes"] < programs["torch"]["peak_bytes"])


def controls(rows: list[Found]) -> Iterator[str]:
    best = min(time for row in rows for time in row["control_rounds_us"])
    yield f"Control at its best: {speed(best)}; by round, in µs:"
    yield ""
    for row in rows:
        times = row["control_rounds_us"]
        note = " – **disturbed**: measure again" if min(times) > DISTURBED * best else ""
        yield f"- {row['work']}: {', '.join(f'{t:.0f}' for t in times)}{note}"


def plot(found: Found) -> Chart:
    """A bar for each work and count of threads, on a scale of decades; a mark at each target."""
    rows = [(row, value) for row in found["rows"] if (value := ratio(row)) is not None]
    counts = sorted({row["threads"] for row, _ in rows})
    works = [name for name in TARGETS if any(row["work"] == name for row, _ in rows)]
    width, band, top = 620.0, 18 * len(counts) + 16.0, 52.0
    ends = [1.0, *TARGETS.values(), *(value for _, value in rows)]
    to_x = Axis(min(ends) / 1.15, max(ends) * 1.15, 60, width - 66, log=True)
    bottom = top + band * len(works)
    parts = []
    for value in to_x.ticks(6):
        place = xy(to_x(value))
        kind = "axis" if value == 1 else "rule"
        parts.append(f'<path class="{kind}" d="M{place} {top - 6}V{xy(bottom)}"/>')
        parts.append(text_at(to_x(value), bottom + 16, f"{number(value)}×", "soft", "middle"))
    for row, value in rows:
        place = counts.index(row["threads"])
        y = top + band * works.index(row["work"]) + 18 * place
        left, right = sorted((to_x(1), to_x(value)))
        size = f'width="{xy(right - left)}" height="14"'
        parts.append(f'<rect class="f{place + 1}" x="{xy(left)}" y="{xy(y)}" {size}/>')
        parts.append(text_at(width - 10, y + 11, f"{value:.2f}×", anchor="end"))
    for k, name in enumerate(works):
        y, place = top + band * k, xy(to_x(TARGETS[name]))
        parts.append(text_at(0, y + band / 2 - 4, name))
        parts.append(f'<path class="cross" d="M{place} {xy(y - 4)}V{xy(y + band - 12)}"/>')
    at = width
    for place, count in reversed(list(enumerate(counts))):
        label = f"{count} thread{'s' * (count > 1)}"
        at -= extent(label) + 24
        parts.append(f'<rect class="f{place + 1}" x="{xy(at)}" y="26" width="12" height="12"/>')
        parts.append(text_at(at + 18, 36, label))
    parts.append(text_at(0, 36, "longer is faster; red: the target on two threads", "soft"))
    title = "Training steps: times the speed of the fastest of the others"
    told = " ".join(f"{r['work']}, threads {r['threads']}: {v:.2f} times." for r, v in rows)
    return finish(width, bottom + 26, title, parts, told)


# ── eager mode ───────────────────────────────────────────────────────────────────────────────────


def eager(found: Found) -> Iterator[str]:
    yield "## Eager mode: forward and backward of 30 small operations"
    yield ""
    yield f"Target: at most {EAGER:g} × PyTorch's eager time. A compiled step does not pay this."
    yield from about(found)
    yield f"- threads: {found['threads']}; control: {speed(found['control_us'])}"

    def cells(row: Found) -> Iterator[str]:
        over = row["us"] / row["torch_us"]
        yield row["work"]
        yield from (f"{row['torch_us']:.0f}", f"{row['us']:.0f}", f"{over:.2f}")
        yield verdict(over <= EAGER)

    yield from table(
        ["work", "torch, µs", "chainrule, µs", "ratio", "target"], map(cells, found["steps"])
    )
    yield ""
    yield "## A chain of n operations, forward and backward"
    chains = ((row["length"], row["seconds"]) for row in found["chains"])
    yield from table(
        ["n", "seconds", "µs an operation"],
        ((f"{n:,}", f"{seconds:.2f}", f"{seconds / n * 1e6:.1f}") for n, seconds in chains),
    )
    yield ""
    yield "## Import, beyond NumPy's own"
    yield from table(
        ["module", "seconds"], ((name, f"{s:.3f}") for name, s in found["imports"].items())
    )


# ── products ─────────────────────────────────────────────────────────────────────────────────────


def products(found: Found) -> Iterator[str]:
    yield "## Matrix products"
    yield ""
    yield PRODUCTS
    yield from about(found)
    runs: dict[tuple[str, int], list[Found]] = {}
    for row in found["rows"]:
        runs.setdefault((row["instructions"], row["threads"]), []).append(row)
    for (instructions, threads), rows in runs.items():
        yield ""
        yield f"### {instructions}, {threads} thread{'s' * (threads > 1)}"
        shares = [row["numpy_us"] / row["us"] for row in rows]
        reached = sum(share >= PRODUCT_SHARE for share in shares)
        yield ""
        yield f"{reached} of {len(rows)} reach {PRODUCT_SHARE:.0%} of NumPy's speed; the geometric"
        yield f"mean is {math.exp(sum(map(math.log, shares)) / len(shares)):.0%}."
        cells = {(row["layer"], row["role"]): product_cell(row) for row in rows}
        yield from table(
            ["layer", *ROLES],
            (
                [layer, *(cells.get((layer, role), "–") for role in ROLES)]
                for layer in dict.fromkeys(row["layer"] for row in rows)
            ),
        )


def product_cell(row: Found) -> str:
    ours, theirs = (row["operations"] / row[us] / 1e3 for us in ("us", "numpy_us"))
    share = f"{ours / theirs:.0%}"
    return f"{ours:.1f} / {theirs:.1f}, " + (
        share if ours >= PRODUCT_SHARE * theirs else f"**{share}**"
    )


# ── convolutions ─────────────────────────────────────────────────────────────────────────────────


def layers(found: Found) -> Iterator[str]:
    yield "## Convolutions"
    yield ""
    yield LAYERS
    yield from about(found)
    yield f"- peak: {found['peak_gflops']:.0f} GFLOP/s"
    for threads in sorted({row["threads"] for row in found["rows"]}):
        yield ""
        yield f"### Convolutions, {threads} thread{'s' * (threads > 1)}"
        yield from table(
            ["layer", *ROLES],
            (
                [row["layer"], *(layer_cell(row, role, found["peak_gflops"]) for role in ROLES)]
                for row in found["rows"]
                if row["threads"] == threads
            ),
        )


def layer_cell(row: Found, role: str, peak: float) -> str:
    us = row["us"][role]
    share = f"{row['operations'] / us / 1e3 / peak:.0%}"
    return f"{us:,.0f} µs, {share}" + (
        f", {row['bytes'] / us / 1e3:.0f} GB/s" if row["depthwise"] else ""
    )


PARTS = {"training": training, "eager": eager, "products": products, "layers": layers}
