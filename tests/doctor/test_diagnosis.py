"""The text of a diagnosis, written by hand."""

import dataclasses
import json
import math

import pytest

from chainrule.diagnosis import Change, Finding, Remedy, Trial
from chainrule.doctor.diagnosis import SHOWN, Attempt, Diagnosis
from chainrule.doctor.measured import Measurement


def remedy(text, after, before=0.25):
    trial = None if after is None else Trial(before, after, 0.1, 1.0)
    return Remedy(tuple(Change("x", part) for part in text.split("; ")), text, trial)


TOGETHER = remedy("standardise the inputs; learning rate 0.001 in place of 1", 0.9)
RAW = Finding(
    "inputs_not_scaled",
    "data.inputs",
    "the root mean square of the inputs is 312",
    remedies=(TOGETHER, remedy("standardise the inputs", 0.5)),
)
RATE = Finding(
    "lr_too_high",
    "optimizer.lr",
    "the rate is 1, and 0.001 does better",
    remedies=(TOGETHER, remedy("learning rate 0.001 in place of 1", 0.25)),
)
TRIALS = (
    Attempt(2, "standardise the inputs; learning rate 0.001 in place of 1", TOGETHER.trial),
    Attempt(1, "standardise the inputs", Trial(0.25, 0.5, 0.2, 1.0)),
    Attempt(1, "learning rate 0.001 in place of 1", Trial(0.25, 0.1, math.nan, 1.0)),
)


def test_two_findings_that_are_repaired_together():
    assert (
        str(Diagnosis((RAW, RATE), "accuracy", 0.25, 80, TRIALS))
        == """\
2 findings: accuracy 0.250 → 0.900 on 80 held-out rows

1. inputs_not_scaled at data.inputs: raw inputs
   The root mean square of the inputs is 312.
   remedy  standardise the inputs
           accuracy 0.250 → 0.500

2. lr_too_high at optimizer.lr: the learning rate is too high
   The rate is 1, and 0.001 does better.
   alone  learning rate 0.001 in place of 1
          accuracy 0.250 → 0.250; it helps together with the others

together  standardise the inputs
          learning rate 0.001 in place of 1
          accuracy 0.250 → 0.900

tried   accuracy  changes
           0.900  standardise the inputs; learning rate 0.001 in place of 1
           0.500  standardise the inputs
           0.250  none: the training as it is
           0.100  learning rate 0.001 in place of 1"""
    )


def test_one_finding_says_its_remedy_once():
    finding = Finding("lr_too_high", "optimizer.lr", "it is 1", remedies=(remedy("less", 0.8),))
    assert (
        str(Diagnosis((finding,), "R²", 0.25, 30, TRIALS[:0]))
        == """\
1 finding: R² 0.250 → 0.800 on 30 held-out rows

1. lr_too_high at optimizer.lr: the learning rate is too high
   It is 1.
   remedy  less
           R² 0.250 → 0.800"""
    )


def test_a_training_that_broke():
    finding = Finding("lr_too_high", "", "it is 1", remedies=(remedy("less", 0.8, 0.0),))
    lines = str(Diagnosis((finding,), "accuracy", 0.0, 30, (), 3)).splitlines()
    assert lines[0] == (
        "1 finding: the loss is not finite in epoch 3; repaired, accuracy 0.800 on 30 held-out rows"
    )
    assert lines[2].startswith("1. lr_too_high at the model: ")
    assert lines[-1] == "           accuracy 0.800"


def test_a_finding_that_no_change_repairs():
    finding = Finding("labels_misaligned", "data.targets", "neighbours differ")
    diagnosis = Diagnosis((finding,), "accuracy", 0.1, 30, TRIALS[2:])
    assert diagnosis.remedy is None
    lines = str(diagnosis).splitlines()
    assert lines[0] == "1 finding: accuracy 0.100 on 30 held-out rows"
    assert lines[5] == "No change that was tried repairs it."


def test_a_finding_without_a_remedy_beside_one_with():
    misaligned = Finding("labels_misaligned", "data.targets", "neighbours differ")
    lines = str(Diagnosis((RATE, misaligned), "accuracy", 0.1, 30, ())).splitlines()
    assert [line for line in lines if line.startswith("together")] == [
        "together  standardise the inputs"
    ]


def test_a_remedy_that_there_was_no_time_for():
    finding = Finding("init_symmetric", "0", "equal", remedies=(remedy("new first weights", None),))
    diagnosis = Diagnosis((finding,), "accuracy", 0.1, 30, ())
    assert str(diagnosis).splitlines()[4:6] == [
        "   remedy  new first weights",
        "           not tried: there was no time left",
    ]


@pytest.mark.parametrize(
    ("score", "trials", "verdict"),
    [
        (0.9, TRIALS, "No change that was tried makes it much better."),
        (0.97, TRIALS[:0], "Nothing was tried: the score cannot become much better."),
        (0.25, TRIALS, "The best of these may be a chance of the held-out rows, or of the seed."),
        (0.9, (), "There was no time for trials: give it more seconds."),
    ],
)
def test_nothing_found(score, trials, verdict):
    lines = str(Diagnosis((), "accuracy", score, 80, trials)).splitlines()
    assert lines[0] == f"Nothing found: accuracy {score:.3f} on 80 held-out rows"
    assert lines[2] == verdict


def test_long_texts_are_wrapped_and_many_trials_counted():
    words = " ".join(["word"] * 40)
    trials = tuple(Attempt(1, words, Trial(0.5, 0.5, 0.1, 1.0)) for _ in range(SHOWN + 3))
    finding = Finding("lr_too_high", "a", words, remedies=(remedy(words, 0.9),))
    diagnosis = Diagnosis((finding,), "balanced accuracy", 0.5, 80, trials)
    for width in (60, 96):
        lines = [*diagnosis.lines(width)]
        assert max(map(len, lines)) <= width
        assert " ".join(" ".join(lines).split()).endswith("… and 3 more, none better than these")


def test_html_and_data():
    finding = Finding("lr_too_high", "a<b", "1 < 2 & 3", remedies=(TOGETHER,))
    diagnosis = Diagnosis((finding,), "accuracy", math.inf, 80, TRIALS)
    html = diagnosis._repr_html_()
    assert "a&lt;b" in html
    assert "1 &lt; 2 &amp; 3" in html
    assert "<li>Standardise the inputs</li><li>Learning rate 0.001 in place of 1</li>" in html
    assert "<td>0.250 → 0.500</td><td>0.2</td><td>1 s</td>" in html
    assert "<td>0.250 → 0.100</td><td>–</td><td>1 s</td>" in html
    assert html.count("<tr>") == 1 + len(TRIALS) + 1, "heads, trials, and the training as it is"
    data = json.loads(json.dumps(diagnosis.to_dict(), allow_nan=False))
    assert data["score"] is None
    assert data["trials"][2]["loss"] is None
    assert data["findings"][0]["remedies"][0]["trial"]["after"] == 0.9


MEASURED = (
    Measurement("constant_columns", 0, "none", "data.inputs"),
    Measurement("dependent_columns", 2, "none", "data.inputs", "columns 3 < 4", ("column 3",)),
    Measurement("initial_loss", 2.3026, "2.3, the logarithm of 10 classes", "loss"),
    Measurement("sharpness", 12.0, "", "model"),
    Measurement("gradient_noise_scale", math.inf, "", "batch"),
)


def test_the_text_has_what_is_odd_and_a_few_others():
    text = str(Diagnosis((), "accuracy", 0.25, 80, (), measured=MEASURED))
    assert text.endswith(
        """\
measured              value  expected
dependent columns         2  none; columns 3 < 4
initial loss            2.3  2.3, the logarithm of 10 classes
gradient noise scale    inf  –"""
    )


def test_html_and_data_have_what_was_measured():
    diagnosis = Diagnosis((), "accuracy", 0.25, 80, (), measured=MEASURED)
    html = diagnosis._repr_html_()
    assert "none; columns 3 &lt; 4" in html
    assert "sharpness" not in html
    data = json.loads(json.dumps(diagnosis.to_dict(), allow_nan=False))["measured"]
    assert [m["name"] for m in data] == [m.name for m in MEASURED]
    assert data[1]["items"] == ["column 3"]
    assert data[4]["value"] is None


def test_what_is_no_part_of_the_whole_is_said_to_be_another_way():
    other = Finding(
        "optimizer_unsuited", "optimizer", "x", remedies=(TOGETHER, remedy("Adam", 0.8))
    )
    lines = str(Diagnosis((RAW, RATE, other), "accuracy", 0.25, 80, TRIALS)).splitlines()
    assert "   instead  Adam" in lines


def test_code_is_listed_up_to_a_length():
    code = tuple(f"a = {k}" for k in range(20))
    finding = dataclasses.replace(RAW, remedies=(dataclasses.replace(TOGETHER, code=code),))
    diagnosis = Diagnosis((finding,), "accuracy", 0.25, 80, TRIALS)
    lines = str(diagnosis).splitlines()
    assert "in Python  a = 0" in lines
    assert "           a = 11" in lines
    assert "           # … and 8 more: remedy.code" in lines
    assert "\n".join(code) in diagnosis.html(), "a page has room for all of it"


def test_without_findings_the_headline_names_what_is_odd():
    odd = Measurement("row_order", 1.0, "0", "model", "it depends on them")
    for trials, says in (((), "Nothing found: "), ((TRIALS[0],), "Nothing found by trials: ")):
        text = str(Diagnosis((), "accuracy", 0.5, 80, trials, measured=(odd,)))
        assert text.startswith(f"{says}accuracy 0.500 on 80 held-out rows; see row order\n")


def test_few_rows_are_no_basis():
    lines = str(Diagnosis((), "accuracy", 0.5, 19, (TRIALS[0],))).splitlines()
    assert lines[2] == "19 held-out rows are too few to judge by trials: 20 or more tell."
    lines = str(Diagnosis((), "accuracy", 0.0, 1, (TRIALS[0],))).splitlines()
    assert lines[0] == "Nothing found: accuracy 0.000 on 1 held-out row"
    assert lines[2] == "1 held-out row is too few to judge by trials: 20 or more tell."


def test_few_rows_that_are_trained_on_are_all_there_are():
    diagnosis = Diagnosis((), "accuracy", 0.5, 4, (TRIALS[0],), same_rows=True)
    lines = str(diagnosis).splitlines()
    assert lines[0] == "Nothing found: accuracy 0.500 on 4 rows, the same that are trained on"
    assert lines[2] == "The best of these may be a chance of the seed."
    assert diagnosis.to_dict()["same_rows"]


def test_scores_of_other_first_weights_are_said_to_be_that():
    diagnosis = Diagnosis((RAW, RATE), "accuracy", 0.25, 80, TRIALS, own=0.5)
    said = "All scores are those with other first weights of the same distribution"
    assert said in str(diagnosis)
    assert "With its own it gets 0.500." in " ".join(str(diagnosis).split())
    assert said in diagnosis._repr_html_()
    assert diagnosis.to_dict()["own"] == 0.5


def test_findings_on_a_page_are_numbered_as_in_the_text():
    """Their confidence is a share of the gain, and no level."""
    slight = dataclasses.replace(RATE, confidence=0.3)
    html = Diagnosis((RAW, slight), "accuracy", 0.25, 80, TRIALS).html()
    assert html.index("▲ Finding 1") < html.index("Raw inputs") < html.index("▲ Finding 2")
    assert "Notice" not in html
