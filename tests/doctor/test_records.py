"""A diagnosis beside its run: read back as it was written, shown in the report."""

import dataclasses
import json
import math

import pytest
from test_diagnosis import MEASURED, RATE, RAW, TOGETHER, TRIALS

from chainrule import files
from chainrule.diagnosis import Change, Finding, Remedy
from chainrule.doctor.diagnosis import Diagnosis
from chainrule.doctor.records import NAME, Record, restored, show, store
from chainrule.errors import FileError
from chainrule.train import Recipe
from chainrule.train.report import Report, render
from reading import check_page

ADAM = Change("optimizer", "optimizer", ("adam", 1e-3))
FINDING = Finding(
    "optimizer_unsuited",
    "optimizer",
    "it is SGD",
    {"norms": {"0": math.nan, "2": math.inf, "4": 0.1}},
    0.3,
    (TOGETHER, Remedy((ADAM,), "Adam in place of SGD", None, ("optimizer = Adam()",))),
)
DIAGNOSES = {
    "nothing": Diagnosis((), "R²", math.nan, 80, ()),
    "broken": Diagnosis((RAW, RATE), "accuracy", -math.inf, 80, TRIALS, 3, MEASURED, 0.5),
    "changes with values": Diagnosis((FINDING, RATE), "accuracy", 0.25, 80, TRIALS),
}


@pytest.fixture
def run(tmp_path):
    page = render(Report("digits", "classification", "digits-1", findings=[]))
    (tmp_path / "report.html").write_text(page, "utf-8")
    return tmp_path


@pytest.mark.parametrize("name", DIAGNOSES)
def test_what_is_written_reads_back(name):
    diagnosis = DIAGNOSES[name]
    again = restored(json.loads(files.to_json(dataclasses.asdict(diagnosis))))
    assert str(again) == str(diagnosis)
    assert again.html() == diagnosis.html()
    assert again.to_dict() == diagnosis.to_dict()
    for ours, theirs in zip(again.findings, diagnosis.findings, strict=True):
        assert [r.changes for r in ours.remedies] == [r.changes for r in theirs.remedies]


def test_the_report_shows_it(run):
    before = (run / "report.html").read_text("utf-8")
    notes = ["the images are not changed"]
    store(run, Recipe("digits"), Record(DIAGNOSES["changes with values"], ["lr = 0.5"], notes))
    assert show(run) == run / "report.html"
    text = (run / "report.html").read_text("utf-8")
    page = check_page(text)
    assert [s["id"] for s in page.all("section")] == ["findings", "what"]
    said = " ".join(page.text)
    for known in (
        "2 findings: accuracy 0.250 → 0.900 on 80 held-out rows",
        "The optimizer, or its epsilon, does not fit",
        "0 nan, layer 2 inf, layer 4 0.1",
        "not tried: there was no time left",
        "accuracy 0.250 → 0.250; it helps together with the others",
        "In the recipe lr = 0.5",
        "The images are not changed.",
        "none: the training as it is",
    ):
        assert known in said
    assert "optimizer = Adam()" not in said, "a recipe has settings, not Python"
    store(run, Recipe("digits"), Record(DIAGNOSES["nothing"], [], []))
    show(run)
    after = (run / "report.html").read_text("utf-8")
    assert "Nothing found" in after
    assert "Adam" not in after
    assert len(before) < len(after) < len(text)


def test_bytes_that_are_no_text_stay(run):
    path = run / "report.html"
    path.write_bytes(path.read_bytes().replace(b"digits</bdi>", b"d\xffgits</bdi>"))
    store(run, Recipe("digits"), Record(DIAGNOSES["nothing"], [], []))
    show(run)
    assert b"d\xffgits</bdi>" in path.read_bytes()


def test_what_is_in_the_way(run):
    store(run, Recipe("digits"), Record(DIAGNOSES["nothing"], [], []))
    (run / "report.html").write_text("<!doctype html>")
    with pytest.raises(FileError, match="has no place for what was tried"):
        show(run)
    (run / "report.html").unlink()
    with pytest.raises(FileError, match=r"without a report\.html"):
        show(run)
    for broken in ('{"format": 1}', "[]", (run / NAME).read_text().replace("80", "81")):
        (run / NAME).write_text(broken)
        with pytest.raises(FileError, match="has changed since it was written"):
            show(run)
