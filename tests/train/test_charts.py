"""The charts of the report: well formed, and true to the numbers given."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.errors import ArgumentError, ShapeError
from chainrule.train import charts
from chainrule.train.charts import drawing
from reading import Page, check_svg

NAN, INF = math.nan, math.inf
RNG = np.random.default_rng(7)


def dots(chart: drawing.Chart) -> list[ET.Element]:
    return [e for e in check_svg(chart.svg).iter() if e.tag.endswith("circle")]


def curve_points(chart: drawing.Chart, kind: int = 1) -> list[tuple[float, float]]:
    """The points of a drawn curve; the legend's sample of a line is left out."""
    paths = [
        e.attrib["d"]
        for e in check_svg(chart.svg).iter()
        if e.attrib.get("class") == f"line s{kind}" and "h" not in e.attrib["d"]
    ]
    pairs = re.findall(r"([\d.-]+) ([\d.-]+)", " ".join(paths))
    return [(float(a), float(b)) for a, b in pairs]


@given(
    st.integers(1, 3000),
    st.integers(20, 400),
    st.sampled_from([0, 0.002, 0.3, 1]),
    st.sampled_from([NAN, INF, -INF]),
    st.integers(0, 10**6),
)
def test_thinning_keeps_extremes_ends_and_gaps(count, limit, share, odd, seed):
    random = np.random.default_rng(seed)
    array = random.standard_cauchy(count)
    array[random.random(count) < share] = odd
    kept = drawing.thin(array, limit)
    assert len(kept) <= (limit if np.isfinite(array).all() else 1.5 * limit)
    assert (np.diff(kept) > 0).all()
    assert kept[0] == 0
    assert kept[-1] == len(array) - 1
    finite = array[np.isfinite(array)]
    if len(finite):
        seen = array[kept][np.isfinite(array[kept])]
        assert seen.min() == finite.min()
        assert seen.max() == finite.max()
    lost, bucket = np.flatnonzero(~np.isfinite(array)), len(array) / (limit // 2 - 1) + 1
    still = kept[~np.isfinite(array[kept])]
    assert all(np.abs(still - k).min() <= bucket for k in lost), "a gap is bridged"


@given(st.floats(-1e12, 1e12), st.floats(1e-6, 1e12), st.integers(2, 10))
def test_ticks_are_round_ordered_inside_and_about_as_many(low, span, count):
    high = low + span
    if high - low < 1e-9 * max(abs(low), abs(high)):
        return
    found = drawing.ticks(low, high, count)
    room = 1e-6 * (high - low) + 1e-9 * max(abs(low), abs(high))
    assert 2 <= len(found) <= count + 2
    assert all(low - room <= v <= high + room for v in found)
    if len(found) > 1:
        step = found[1] - found[0]
        assert np.allclose(np.diff(found), step, rtol=1e-3)
        lead = float(f"{step:.0e}".split("e")[0])
        assert lead in {1, 2, 5}


@given(st.floats(1e-12, 1e12), st.floats(1.2, 1e12))
def test_log_ticks_are_ordered_and_inside(low, ratio):
    found = drawing.log_ticks(low, low * ratio)
    assert 1 <= len(found) <= 8
    assert found == sorted(set(found))
    assert all(low * (1 - 1e-6) <= v <= low * ratio * (1 + 1e-6) for v in found)


@given(st.floats(-1e9, 1e9), st.floats(1e-7, 1e9))
def test_labels_of_ticks_differ(low, span):
    at = drawing.ticks(low, low + span)
    if span > 1e-9 * abs(low):
        assert len(set(drawing.labels(at))) == len(at)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1, "1"),
        (-2.5, "−2.5"),
        (0.03125, "0.03125"),
        (12345.0, "12,345"),
        (0.00001234, "1.23×10⁻⁵"),
        (1e-5, "10⁻⁵"),
        (-1e7, "−10⁷"),
        (2e6, "2×10⁶"),
        (NAN, "NaN"),
        (INF, "∞"),
        (-INF, "−∞"),
    ],
)
def test_numbers_are_written_as_people_do(value, text):
    assert drawing.number(value) == text


real = st.floats(allow_nan=True, allow_infinity=True) | st.none()


@given(st.lists(real, max_size=60), st.lists(real, max_size=60), st.booleans())
def test_lines_take_any_values(first, second, log):
    chart = charts.lines({"a": first, "b": second}, title="t", x_label="epoch", log_y=log)
    check_svg(chart.svg)


@given(st.lists(real, min_size=1, max_size=40))
def test_the_other_charts_take_any_values(values):
    row = np.array(values, np.float64)
    check_svg(charts.scatter(row, row[::-1], title="t", identity=True).svg)
    check_svg(charts.histogram(row, title="t", mark=0).svg)
    for log in (True, False):
        columns = list(range(len(row)))
        check_svg(charts.heatmap(row[None], ["r"], columns, title="t", log=log).svg)


def test_a_curve_is_drawn_where_its_values_are():
    chart = charts.lines({"a": [0.0, 10.0, 5.0]}, title="t", x=[0, 1, 2])
    (x0, y0), (x1, y1), (x2, y2) = curve_points(chart)
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y2 == pytest.approx((y0 + y1) / 2, abs=0.2)
    assert y1 < y0


def test_a_decade_is_as_high_as_any_other_on_a_log_axis():
    (_, a), (_, b), (_, c) = curve_points(
        charts.lines({"a": [1.0, 10.0, 100.0]}, title="t", log_y=True)
    )
    assert b - a == pytest.approx(c - b, abs=0.2)


def test_a_peak_among_thousands_of_points_is_drawn():
    values = np.sin(np.arange(20_000) / 900)
    flat = [y for _, y in curve_points(charts.lines({"a": values}, title="t"))]
    values[12_345] = 40.0
    points = curve_points(charts.lines({"a": values}, title="t"))
    assert len(points) <= 400
    assert min(y for _, y in points) == pytest.approx(min(flat), abs=1)
    assert sum(y < 150 for _, y in points) == 1


def test_lost_values_are_marked_and_gaps_are_not_bridged():
    chart = charts.lines({"a": [1.0, 2.0, NAN, INF, 3.0, None, 4.0]}, title="t", x_label="epoch")
    told = "".join(check_svg(chart.svg).itertext())
    assert "cannot be drawn at 3 to 4" in told
    assert "at 6" not in told, "None is a gap, not a loss"
    assert len(curve_points(chart)) == 2
    assert len(dots(chart)) == 4


def test_series_may_have_their_own_places():
    chart = charts.lines({"a": [1.0, 2.0], "b": [3.0]}, title="t", x={"a": [0, 10], "b": [5]})
    check_svg(chart.svg)
    with pytest.raises(ShapeError, match="2 values and 3 x positions for 'a'"):
        charts.lines({"a": [1.0, 2.0]}, title="t", x=[1, 2, 3])
    with pytest.raises(ShapeError, match="2 x and 1 y"):
        charts.scatter([1.0, 2.0], [1.0], title="t")


def test_a_curve_keeps_its_colour_where_others_are_missing():
    chart = charts.lines({"training": [], "validation": [1.0, 2.0]}, title="t")
    assert len(curve_points(chart, 2)) == 2
    assert "training" not in "".join(check_svg(chart.svg).itertext())


def test_marks_are_drawn_inside_the_curve_alone():
    chart = charts.lines({"a": [1.0, 2.0, 3.0]}, title="t", marks=[(2, "best: 2"), (9, "far")])
    told = "".join(check_svg(chart.svg).itertext())
    assert "best: 2" in told
    assert "far" not in told


def test_scatter_is_thinned_but_keeps_the_worst():
    x = RNG.normal(size=30_000)
    y = x.copy()
    y[777] += 50
    found = dots(charts.scatter(x, y, title="t", identity=True))
    assert len(found) <= 2000
    heights = sorted(float(e.attrib["cy"]) for e in found)
    assert heights[1] - heights[0] > 100


def test_a_histogram_counts_every_value():
    values = np.append(RNG.normal(size=500), [NAN, INF])
    root = check_svg(charts.histogram(values, title="t").svg)
    told = [e.text or "" for e in root.iter() if e.tag.endswith("title")][1:]
    assert sum(int(t.rsplit(": ")[-1]) for t in told) == 500
    assert any("2 more are not finite" in (e.text or "") for e in root.iter())


def test_a_heatmap_tells_zero_lost_and_large_apart():
    norms = np.array([[1e-8, 0.0, NAN, 1.0]])
    root = check_svg(charts.heatmap(norms, ["first"], [0, 1, 2, 3], title="t", x_label="step").svg)
    kinds = {
        (e[0].text or ""): (e.attrib["class"], e.attrib.get("style"))
        for e in root.iter()
        if e.tag.endswith("rect") and len(e)
    }
    assert kinds["first, step 1: zero"][0] == "zero"
    assert kinds["first, step 2: not finite"][0] == "band"
    dark, bright = (kinds[f"first, step {k}"][1] for k in ("0: 10⁻⁸", "3: 1"))
    assert (dark, bright) == ("fill:#440154", "fill:#fde725")


def test_a_chart_shows_and_saves_itself(tmp_path: Path):
    chart = charts.lines({"a": [1.0, 2.0]}, title="Loss & more")
    assert str(chart) == chart._repr_svg_() == chart.svg
    assert drawing.STYLE in chart.svg
    assert drawing.STYLE not in chart.bare
    check_svg(chart.save(tmp_path / "a.svg").read_text(encoding="utf-8"))
    Page(chart.save(tmp_path / "a.html").read_text(encoding="utf-8"))
    written: dict[Path, str] = {}
    chart.save("b.svg", written.__setitem__)
    assert written == {Path("b.svg"): chart.svg + "\n"}
    with pytest.raises(ArgumentError, match=r"end it in \.svg or \.html"):
        chart.save(tmp_path / "a.png")


# In DejaVu Sans of 12 pixels, as FreeType measures them: a wide font that many systems take.
WIDTHS = {
    "embedding.norm LayerNormM": 183.4,
    "mm.mmmmmmmm BatchNorm1d": 207.0,
    "0 Linear": 48.7,
    "encoder.blocks.11…ention.out Linear": 223.3,
    "1,234,567": 61.1,
    "WWW": 35.6,
}


@pytest.mark.parametrize("text", WIDTHS)
def test_there_is_room_for_a_text_in_a_wide_font(text):
    assert WIDTHS[text] <= drawing.extent(text) <= 1.2 * WIDTHS[text]


def test_names_that_differ_stay_apart():
    names = [f"encoder.blocks.{k}.attention.projections.output Linear" for k in range(3)]
    assert len({drawing.shorten(n, 26) for n in names}) == 1
    short = drawing.shorten_distinctly(names, 26, 48)
    assert len(set(short)) == 3
    assert max(map(len, short)) <= 36
    assert drawing.shorten_distinctly(names, 26, 26) == [drawing.shorten(n, 26) for n in names], (
        "no more than the most"
    )
    assert drawing.shorten_distinctly(["a", "a"], 26, 48) == ["a", "a"], "they are the same"
