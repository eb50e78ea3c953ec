"""The report page and its charts: well formed, self-contained, and true to the numbers given."""

from __future__ import annotations

import dataclasses
import html
import math
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.errors import ArgumentError, ShapeError
from chainrule.train.report import Report, charts, drawing, render
from chainrule.train.report.page import per_class

VOID = {"meta", "img", "br", "hr", "link", "input"}
NAN, INF = math.nan, math.inf
HOSTILE = [
    "<script>alert(1)</script>", 'a & b "quoted" \'so\'', "قميص رياضي", "x" * 500, "\x00\x1b[31m",
    "\ud800 lone \ufffe\uffff", "", "コート",
]  # fmt: skip
RNG = np.random.default_rng(7)


class Page(HTMLParser):
    """The elements of a page; fails where tags do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def check_page(text: str) -> Page:
    """A page that nests, whose charts are XML, and that loads nothing."""
    page = Page(text)
    for picture in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        check_svg(picture)
    for _, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "srcset", "data", "action", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:image/")), value
    assert not {"script", "link", "iframe", "object", "embed", "base"} & {
        name for name, _ in page.elements
    }
    anchors = {a["href"] for a in page.all("a")}
    assert anchors <= {f"#{e['id']}" for e in page.all("section")}
    assert "url(" not in text
    assert "@import" not in text
    assert [u for u in re.findall(r"https?://[^\"' <]*", text) if "w3.org/2000/svg" not in u] == []
    text.encode()
    return page


def check_svg(text: str) -> ET.Element:
    """An SVG that is XML, has a title, and whose every coordinate is a number."""
    root = ET.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.attrib["viewBox"]
    assert root[0].tag.endswith("title")
    for element in root.iter():
        for name, value in element.attrib.items():
            if name not in {"class", "style"}:
                assert "nan" not in value, (name, value)
                assert "inf" not in value, (name, value)
            if name in {"width", "height", "r"}:
                assert float(value) >= 0
    return root


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


def epochs(count: int, **extra: float) -> list[dict[str, float | None]]:
    return [
        {
            "epoch": e, "step": 10 * e, "loss": 2 / e, "valid_loss": 2.2 / e if e % 2 else None,
            "accuracy": 1 - 1 / (e + 1), "lr": 1e-3 / e, "seconds": 0.5, **extra,
        }
        for e in range(1, count + 1)
    ]  # fmt: skip


def flow(steps: int, layers: int) -> dict[str, list]:  # type: ignore[type-arg]
    return {
        "steps": [7 * s for s in range(steps)],
        "layers": [f"{i}.Linear" for i in range(layers)],
        "norms": (10 ** RNG.normal(-2, 2, (steps, layers))).tolist(),
    }


def full(classes: list[str] | None = None) -> Report:
    names = ["cat", "dog", "bird"] if classes is None else classes
    n = len(names)
    return Report(
        "A title", "classification", "run-1", 92.0, False, {"loss": 0.25, "accuracy": 0.8125},
        'name = "adamw"', {"rows": 1234567, "share": 0.25, "target": "kind"}, ["Scaled to 0…1."],
        "0  Linear  8", 203530, epochs(12), 9, flow(50, 4),
        [
            {"level": "good", "title": "Fine", "cause": "It is fine.", "remedy": ""},
            {"level": "warning", "title": "Bad", "cause": "It is bad.", "remedy": "Mend it."},
        ],
        RNG.integers(1, 40, (n, n)), names, None, None, [("cat", "dog", 0.97)],
        [("data:image/png;base64,AAAA", "cat taken for dog")], {"numpy": "2.1"}, "1 May 2026",
    )  # fmt: skip


# The page


def test_a_full_page_has_every_section_and_its_numbers():
    page = check_page(render(full()))
    text = " ".join(page.text)
    assert [s["id"] for s in page.all("section")] == [
        "curves", "gradient", "findings", "classes", "mistakes", "data", "model", "recipe",
        "versions",
    ]  # fmt: skip
    for known in ("81.25%", "203,530", "1,234,567", "1 min 32 s", "best 9", "Mend it.", "97.0%"):
        assert known in text
    assert text.index("Bad") < text.index("Fine"), "warnings come first"
    assert {i["src"] for i in page.all("img")} == {"data:image/png;base64,AAAA"}


def test_an_empty_report_is_only_a_head():
    page = check_page(render(Report("Nothing yet", "classification", "run")))
    assert page.all("section") == []
    assert page.all("svg") == []
    assert page.all("dl") == []
    assert page.all("nav") == []


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Report)][3:])
def test_any_part_may_be_missing(field):
    report = full()
    default = next(f for f in dataclasses.fields(Report) if f.name == field)
    factory = default.default_factory
    empty = default.default if factory is dataclasses.MISSING else factory()
    page = check_page(render(dataclasses.replace(report, **{field: empty})))
    assert all(s["id"] for s in page.all("section"))


@pytest.mark.parametrize("count", [1, 2, 30, 31, 60])
def test_precision_and_recall_are_those_of_the_counts(count):
    report = full([f"class {i}" for i in range(count)])
    text = render(report)
    check_page(text)
    table = np.asarray(report.confusion)
    rows = re.findall(r"<tr>(.*?)</tr>", text)
    cells = [[re.sub(r"<[^>]*>", "", c) for c in re.findall(r"<td.*?</td>", r)] for r in rows]
    found = {c[0]: c[1:] for c in cells if len(c) == 5}
    assert len(found) == count
    for k in range(count):
        hits, claimed, true = table[k, k], sum(table[:, k]), sum(table[k])
        precision, recall = hits / claimed, hits / true
        f1 = 2 * precision * recall / (precision + recall)
        assert found[f"class {k}"] == [
            f"{100 * precision:.1f}%", f"{100 * recall:.1f}%", f"{100 * f1:.1f}%", f"{true:,}",
        ]  # fmt: skip


def test_counts_stand_in_their_cells_and_the_baseline_in_the_verdict():
    table = np.array([[50, 3], [0, 7]])
    report = Report("T", "classification", "r", metrics={"accuracy": 0.95}, confusion=table,
                    classes=["no", "yes"])  # fmt: skip
    text = render(report)
    for told in ("true no, predicted no: 50 (94.3%)", "true no, predicted yes: 3 (5.7%)"):
        assert told in text
    assert f"{100 * 53 / 60:.3g}%" in " ".join(check_page(text).text)


def test_the_verdict_does_not_praise_a_model_that_only_names_the_commonest_class():
    report = Report("T", "classification", "r", metrics={"accuracy": 0.8},
                    confusion=np.array([[80, 0], [20, 0]]), classes=["a", "b"])  # fmt: skip
    assert "no more than always naming" in render(report)


def test_a_single_epoch_and_a_single_row_are_told_as_such():
    one = dataclasses.replace(full(), history=[{"epoch": 1, "loss": 0.5, "lr": 1.4e-8}])
    page = "".join(Page(render(one)).text)
    assert "at the end of the epoch" in page
    assert "throughout" not in page
    tiny = Report("t", "regression", "t-1", metrics={"r2": NAN, "mae": 2.0})
    assert "R² is not defined for the test set" in "".join(Page(render(tiny)).text)


def test_classes_that_never_occur_or_are_never_predicted_have_no_rate():
    rates = per_class(np.array([[3.0, 0, 0], [1, 0, 0], [0, 0, 0]]))
    assert rates[0] == pytest.approx([0.75, 1, 6 / 7])
    assert np.isnan(rates[1, 0])
    assert rates[1, 1:].tolist() == [0, 0]
    assert np.isnan(rates[2]).all()


def test_many_classes_become_the_most_confused_pairs():
    table = np.eye(60) * 30
    table[4, 9], table[50, 2] = 17, 11
    report = Report(
        "T", "classification", "r", confusion=table, classes=[f"c{i}" for i in range(60)]
    )
    text = render(report)
    pairs = [re.sub(r"<[^>]*>", " ", r).split() for r in re.findall(r"<tr>(.*?)</tr>", text)]
    assert pairs[1] == ["c4", "c9", "17", f"{100 * 17 / 47:.1f}%"]
    assert pairs[2] == ["c50", "c2", "11", f"{100 * 11 / 41:.1f}%"]
    assert len([p for p in pairs if len(p) == 4]) == 2


def test_hostile_texts_are_escaped_everywhere():
    for word in HOSTILE:
        report = Report(
            word, "classification", word, metrics={word: 1.0}, recipe=word, data={word: word},
            notes=[word], model=word, history=[{"epoch": 1, "loss": 1.0, word: 2.0}],
            gradients={"steps": [0], "layers": [word], "norms": [[1.0]]},
            findings=[{"level": word, "title": word, "cause": word, "remedy": word}],
            confusion=np.ones((2, 2)), classes=[word, "other"], date=word,
            samples=[word, (word, word, 0.5)], versions={word: word},
            pictures=[(word, word), ("data:image/png;base64,AA==", word)],
        )  # fmt: skip
        text = render(report)
        page = check_page(text)
        assert len(page.all("img")) == 1, "only pictures that hold their data are shown"
        if html.escape(word) != word:
            assert word not in text


def test_a_class_name_stays_readable():
    page = check_page(render(full(["قميص", "a & b", "c"])))
    assert "a & b" in page.text
    assert "قميص" in page.text


@pytest.mark.parametrize("values", [[NAN], [INF], [-INF, NAN], [1.0], [None], [0.0, 0.0]])
def test_strange_histories_do_not_fail(values):
    history = [{"epoch": i, "loss": v, "valid_loss": v, "lr": v} for i, v in enumerate(values)]
    report = dataclasses.replace(full(), history=history, metrics={"accuracy": NAN, "loss": INF})
    text = render(report)
    check_page(text)
    bad = [v for v in values if v is not None and not math.isfinite(v)]
    assert ("Training broke down" in text) == bool(bad)


def test_the_regression_page_tells_what_the_residuals_are():
    truth = RNG.normal(50, 10, 3000)
    guess = truth + RNG.normal(1, 2, 3000)
    report = Report("T", "regression", "r", metrics={"mae": 1.75, "r2": 0.95}, truth=truth,
                    predicted=guess)  # fmt: skip
    text = " ".join(check_page(render(report)).text)
    low, middle, high = np.percentile(guess - truth, [5, 50, 95])
    said = re.search(r"median residual is (\S+); nine of ten lie between (\S+) and (\S+)\.", text)
    assert said is not None
    found = [float(v.replace("−", "-")) for v in said.groups()]
    assert found == pytest.approx([middle, low, high], rel=5e-3)
    assert "95% of the variance" in text
    assert "off by 1.75 on average" in text


def test_the_text_page_shows_its_samples_as_they_are():
    report = Report("T", "text", "r", metrics={"bits_per_character": 1.5}, samples=["Once\n  upon"])
    page = check_page(render(report))
    assert "Once\n  upon" in page.text
    assert [s["id"] for s in page.all("section")] == ["samples"]


@pytest.mark.parametrize(("steps", "layers"), [(1, 1), (3, 100), (400, 60), (5000, 2)])
def test_gradient_flow_of_any_size(steps, layers):
    text = render(Report("T", "text", "r", gradients=flow(steps, layers)))
    check_page(text)
    assert len(text) < 900_000


def test_the_ratio_of_the_first_to_the_last_layer():
    norms = [[1e-6, 1e-3, 1.0]] * 9
    layers = {"steps": list(range(9)), "layers": ["a", "b", "c"], "norms": norms}
    assert "typically 10⁻⁶ times" in render(Report("T", "text", "r", gradients=layers))
    layers["norms"] = [[1.2, 5.0, 1.0]] * 9
    assert "about as large as" in render(Report("T", "text", "r", gradients=layers))


# Charts


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
        (0, "0"), (1, "1"), (-2.5, "−2.5"), (0.03125, "0.03125"), (12345.0, "12,345"),
        (0.00001234, "1.23×10⁻⁵"), (1e-5, "10⁻⁵"), (-1e7, "−10⁷"), (2e6, "2×10⁶"),
        (NAN, "NaN"), (INF, "∞"), (-INF, "−∞"),
    ],
)  # fmt: skip
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
