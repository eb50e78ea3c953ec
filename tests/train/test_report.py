"""The report page: well formed, self-contained, and true to the numbers given."""

from __future__ import annotations

import dataclasses
import html
import math
import re

import numpy as np
import pytest

from chainrule.diagnosis import Finding, Remedy
from chainrule.train.charts.drawing import escape
from chainrule.train.report import Report, page_of, render, with_trials
from chainrule.train.report.confusion import per_class
from reading import AXE, Page, check_page

NAN, INF = math.nan, math.inf
HOSTILE = [
    "<script>alert(1)</script>",
    "a & b \"quoted\" 'so'",
    "قميص رياضي",
    "x" * 500,
    "\x00\x1b[31m",
    "\ud800 lone \ufffe\uffff",
    "",
    "コート",
]
RNG = np.random.default_rng(7)


def epochs(count: int, **extra: float) -> list[dict[str, float | None]]:
    return [
        {
            "epoch": e,
            "step": 10 * e,
            "loss": 2 / e,
            "valid_loss": 2.2 / e if e % 2 else None,
            "accuracy": 1 - 1 / (e + 1),
            "lr": 1e-3 / e,
            "seconds": 0.5,
            **extra,
        }
        for e in range(1, count + 1)
    ]


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
        "A title",
        "classification",
        "run-1",
        92.0,
        False,
        {"loss": 0.25, "accuracy": 0.8125},
        'name = "adamw"',
        {"rows": 1234567, "share": 0.25, "target": "kind"},
        ["Scaled to 0…1."],
        "0  Linear  8",
        203530,
        epochs(12),
        9,
        flow(50, 4),
        [
            Finding("plateau", "", "it is fine", confidence=0.3),
            Finding(
                "vanishing_gradient",
                "0",
                "it is bad",
                {"norms": {f"{k} Linear": 10.0 ** (k - 12) for k in range(12)}, "rows": 3},
                remedies=(Remedy((), "fix it"), Remedy((), "or do not")),
            ),
        ],
        RNG.integers(1, 40, (n, n)),
        names,
        None,
        None,
        [("cat", "dog", 0.97)],
        [("data:image/png;base64,AAAA", "cats/tom.png\npredicted as dog (99%)")],
        {"numpy": "2.1"},
        "1 May 2026",
        "a network, because it fits",
        [("cat", ["data:image/png;base64,BBBB"] * 2), ("dog", [])],
        "light",
        ["data:image/png;base64,CCCC"],
        [("a test cat", *(f"data:image/png;base64,{c}" for c in ("DDDD", "EEEE", "FFFF")))],
    )


def test_a_full_page_has_every_section_and_its_numbers():
    page = check_page(render(full()))
    text = " ".join(page.text)
    assert [s["id"] for s in page.all("section")] == [
        "curves",
        "gradient",
        "findings",
        "classes",
        "mistakes",
        "where",
        "filters",
        "training",
        "data",
        "model",
        "recipe",
        "versions",
    ]
    for known in ("81.25%", "203,530", "1,234,567", "1 min 32 s", "best 9", "97.0%"):
        assert known in text
    for known in ("Fix it", "Or do not", "layer 0 Linear 1e-12", "4 more", "at layer 0"):
        assert known in text
    for known in ("because it fits", "a test cat", "in each epoch (light)", "Mid-grey"):
        assert known in text
    assert text.index("It is bad.") < text.index("It is fine."), "warnings come first"
    images = [i["src"].removeprefix("data:image/png;base64,") for i in page.all("img")]
    assert images == ["AAAA", "DDDD", "EEEE", "FFFF", "CCCC", "BBBB", "BBBB"]


def test_a_run_without_findings_says_so():
    page = check_page(render(dataclasses.replace(full(), findings=[])))
    assert "Nothing found" in " ".join(page.text)


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
            f"{100 * precision:.1f}%",
            f"{100 * recall:.1f}%",
            f"{100 * f1:.1f}%",
            f"{true:,}",
        ]


def test_counts_stand_in_their_cells_and_the_baseline_in_the_verdict():
    table = np.array([[50, 3], [0, 7]])
    report = Report(
        "T",
        "classification",
        "r",
        metrics={"accuracy": 0.95},
        confusion=table,
        classes=["no", "yes"],
    )
    text = render(report)
    for told in ("true no, predicted no: 50 (94.3%)", "true no, predicted yes: 3 (5.7%)"):
        assert told in text
    assert f"{100 * 53 / 60:.4g}%" in " ".join(check_page(text).text)


def test_the_verdict_does_not_praise_a_model_that_only_names_the_commonest_class():
    for table, value, told in (
        (
            [[800, 0], [200, 0]],
            0.8,
            ", no more than always predicting the most frequent class (80%)",
        ),
        ([[970, 11], [9, 10]], 0.98, ", less than always predicting the most frequent class would"),
    ):
        report = Report(
            "T",
            "classification",
            "r",
            metrics={"accuracy": value},
            confusion=np.array(table),
            classes=["a", "b"],
        )
        assert told in render(report)


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


def test_what_turns_the_direction_of_writing_is_not_in_the_page():
    turning = "".join(map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]))
    assert escape(f"a{turning}b\u05d0\u200d") == f"a{9 * chr(0xFFFD)}b\u05d0\u200d"


def test_hostile_texts_are_escaped_everywhere():
    for word in HOSTILE:
        report = Report(
            word,
            "classification",
            word,
            metrics={word: 1.0},
            recipe=word,
            data={word: word},
            notes=[word],
            model=word,
            history=[{"epoch": 1, "loss": 1.0, word: 2.0}],
            gradients={"steps": [0], "layers": [word], "norms": [[1.0]]},
            findings=[Finding("plateau", word, word, {word: word}, 1.0, (Remedy((), word),))],
            confusion=np.ones((2, 2)),
            classes=[word, "other"],
            date=word,
            samples=[word, (word, word, 0.5)],
            versions={word: word},
            pictures=[(word, word), ("data:image/png;base64,AA==", word)],
            chosen=word,
            training_pictures=[(word, [word])],
            augmented=word,
            filters=[word, "data:image/png;base64,AA=="],
            maps=[(word, word, word, word)],
        )
        text = render(report)
        page = check_page(text)
        assert len(page.all("img")) == 2, "only pictures that hold their data are shown"
        if html.escape(word) != word:
            assert word not in text


def test_a_caption_shortens_the_name_of_the_image_alone():
    path = f"a-folder-of-cats/{'long-' * 9}name-{'x' * 20}.png"
    uri = "data:image/png;base64,AAAA"
    said = "predicted as a class with a long name (99%)"
    for report in (
        Report("t", "classification", "r", pictures=[(uri, f"{path}\n{said}")]),
        Report("t", "classification", "r", maps=[(f"{path}\n{said}", uri, uri, uri)]),
    ):
        page = check_page(render(report))
        shown = [text for text in page.text if "…" in text]
        assert [len(text) for text in shown] == [32]
        assert said in page.text
        assert path in [b.get("title") for b in page.all("bdi")]


def test_rows_of_gradients_are_named_without_what_all_have_in_common():
    layers = ["network.features.0 Conv2d", "network.features.1 BatchNorm2d", "network.head Linear"]
    flow = {"layers": layers, "steps": [0, 1], "norms": [[0.1, 0.2, 0.3]] * 2}
    page = check_page(render(Report("t", "classification", "r", gradients=flow)))
    for name in ("features.0 Conv2d", "features.1 BatchNorm2d", "head Linear"):
        assert name in page.text


@pytest.mark.parametrize(
    ("norms", "said"),
    [
        ([[0.0, 2.0]] * 3 + [[1.0, 2.0]] * 2, "the gradient of the first layer is 0 in most steps"),
        ([[0.0, 2.0]] * 2 + [[1.0, 2.0]] * 3, "first layer’s gradient is typically 0.5 times"),
        ([[0.0, 0.0]] * 3, "the gradient of the first and the last layer is 0 in most steps"),
    ],
)
def test_a_gradient_of_0_is_not_left_out(norms, said):
    flow = {"layers": ["0 Linear", "2 Linear"], "steps": [*range(len(norms))], "norms": norms}
    page = check_page(render(Report("t", "classification", "r", gradients=flow)))
    assert any(said in text for text in page.text)
    assert "layer 0 Linear" in page.text


def test_a_warning_leads_to_the_doctor():
    for confidence, expected in ((0.9, True), (0.3, False)):
        remedies = (Remedy((), "clip_norm=1.0"), Remedy((), "a lower rate"))
        found = Finding("plateau", "", "it stands still", {}, confidence, remedies)
        text = render(dataclasses.replace(full(), findings=[found]))
        assert ("chainrule doctor …/run-1" in text) == expected
        assert "<li>clip_norm=1.0</li><li>A lower rate</li>" in text


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
    report = Report(
        "T", "regression", "r", metrics={"mae": 1.75, "r2": 0.95}, truth=truth, predicted=guess
    )
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


def test_what_was_tried_comes_after_the_findings_once():
    before = render(full())
    assert "chainrule doctor …/run-1" in before
    first = with_trials(before, "<p>The <b>earliest</b> \\1 trials</p>")
    page = check_page(with_trials(first, "<p>Others</p>"))
    assert [s["id"] for s in page.all("section")][2:5] == ["findings", "what", "classes"]
    assert [a["href"] for a in page.all("a")][-13:][2:5] == ["#findings", "#what", "#classes"]
    text = " ".join(page.text)
    assert "Others" in text
    assert "earliest" not in text
    assert "…/run-1" not in text, "the doctor need not be asked again"
    assert "The earliest \\1 trials" in "".join(check_page(first).text)


def test_a_page_of_an_earlier_version_has_no_place_for_trials():
    assert with_trials("<!doctype html><main></main>", "<p>Others</p>") is None


def test_a_hostile_text_is_no_place_for_trials():
    report = dataclasses.replace(full(), title="<!--trials--><!--/trials-->")
    text = with_trials(render(report), "<p>Others</p>")
    assert text.count("<p>Others</p>") == 1


def test_a_page_of_trials_alone():
    page = check_page(page_of("a < b.toml", ["doctor", "today"], "1 finding: 3 < 4.", "<p>All</p>"))
    assert [s["id"] for s in page.all("section")] == ["what"]
    assert {"a < b.toml", "1 finding: 3 < 4.", "All"} <= {*page.text}


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_in_a_browser(browser, tmp_path, width, scheme):
    path = tmp_path / "report.html"
    path.write_text(with_trials(render(full()), "<p>Trials</p>"), "utf-8")
    page = browser.new_page(
        viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=True
    )
    wrong = []
    page.on("console", lambda message: wrong.append(message.text))
    page.goto(path.as_uri())
    page.evaluate(AXE)
    violations = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    assert [v["id"] for v in violations if v["impact"] in ("serious", "critical")] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert wrong == []
    page.close()
