"""The records of fault tests, the results that are made of them, and the page."""

import json
import os
import re
import subprocess
import sys

import pytest

from tests.reliability import records
from tests.reliability.__main__ import main
from tests.reliability.faults import ROWS
from tests.reliability.records import ROOT, Record
from tests.reliability.results import HEAD, STUDIOS, page, results, with_studios
from tests.reliability.studios import kind_of, words

INNER = """
import pytest

@pytest.mark.fault("F2")
def test_kill(figures, full):
    figures(kills=20 if full else 2, lost=0)
    figures(back_s=1.5)

@pytest.mark.fault("F4", "lost")
@pytest.mark.fault("F5", "client")
def test_fails(figures):
    figures(differences=1)
    assert not "lost"

@pytest.mark.fault("F4", "unknown")
def test_skips():
    pytest.skip("no server")

def test_of_no_row():
    pass
"""


def pytest_in(folder, text, **environment):
    """Run pytest on a file of its own, with the plugin; the finished process."""
    (folder / "conftest.py").write_text('pytest_plugins = ("tests.reliability.plugin",)')
    (folder / "test_inner.py").write_text(text)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", os.devnull,
         "--strict-markers", f"--rootdir={folder}", str(folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "RELIABILITY_DIR": str(folder / "records"), **environment},
    )  # fmt: skip


def record(row, test, outcome="passed", parts=None, **figures):
    parts = sorted(ROWS[row].parts) if parts is None else parts
    return Record(row, test, parts, outcome, "full", "abc", 1.0, 0.0, "because", figures)


def states(tests, *found, form="full"):
    tests = {row: dict.fromkeys(tests.get(row, []), "fake") for row in ROWS}
    return {result.row: result for result in results(tests, found, form)}


@pytest.mark.slow
def test_each_test_leaves_a_record_of_each_of_its_rows(tmp_path, monkeypatch):
    done = pytest_in(tmp_path, INNER, TORTURE="1")
    assert "F2 1 of 1 passed: kills=20, lost=0, back_s=1.5\n" in done.stdout
    monkeypatch.setenv("RELIABILITY_DIR", str(tmp_path / "records"))
    found = {(each.row, each.test.split("::")[1]): each for each in records.read("full")}
    assert list(records.read("short")) == []
    assert {key: each.outcome for key, each in found.items()} == {
        ("F2", "test_kill"): "passed",
        ("F4", "test_fails"): "failed",
        ("F5", "test_fails"): "failed",
        ("F4", "test_skips"): "skipped",
    }
    assert found["F2", "test_kill"].figures == {"kills": 20, "lost": 0, "back_s": 1.5}
    assert found["F2", "test_kill"].commit == records.commit()
    assert found["F4", "test_skips"].reason == "Skipped: no server"
    assert "assert" in found["F4", "test_fails"].reason
    assert found["F4", "test_fails"].parts == ["lost"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("marker", "message"),
    [('"F24"', "expected a row of F1 to F23"), ('"F2", "whole"', "expected parts of F2")],
)
def test_a_marker_of_an_unknown_row_or_part_is_refused(tmp_path, marker, message):
    text = f"import pytest\n\n@pytest.mark.fault({marker})\ndef test_it(): pass\n"
    assert message in pytest_in(tmp_path, text).stderr


def test_a_row_is_well_with_all_its_parts_and_figures_within_their_bounds():
    tests = {"F2": ["one", "two"]}
    one = record("F2", "one", kills=3, lost=0, back_s=2.5)
    two = record("F2", "two", kills=4, lost=0, back_s=1.5)
    found = states(tests, one, two)["F2"]
    says = {"ok": True, "label_studio": "fake Label Studio"}
    assert found.as_json() == {**says, "kills": 7, "lost": 0, "back_s": 2.5}
    lost = record("F2", "two", lost=1)
    assert "Expected lost of at most 0, got 1." in states(tests, one, lost)["F2"].why
    assert "1 of 2 tests have no record of this commit" in states(tests, one)["F2"].why


def test_a_row_without_test_part_or_figure_says_so():
    assert states({})["F1"].as_json() == {"ok": False, "why": "No test."}
    half = record("F3", "one", parts=["rounds"], webhooks=500)
    why = states({"F3": ["one"]}, half)["F3"].why
    assert "No test shows: all answers are 2xx" in why
    assert "Expected webhooks of at least 10000, got 500." in why and "No test gives p99_ms" in why
    short = states({"F3": ["one"]}, half, form="short")["F3"].why
    assert "at least" not in short and "No test gives" not in short  # bounds of the full form
    failed = record("F3", "tests/one.py::test_it", "failed")
    why = states({"F3": ["tests/one.py::test_it"]}, failed)["F3"].why
    assert why.startswith("one.py::test_it failed: because.")


def test_the_page_names_every_row_once():
    written = records.PAGE.read_text(encoding="utf-8")
    made = page(list(states({}).values()), "full", "abc")
    for text in (written, made):
        assert re.findall(r"^\| (F\d+) \|", text, re.M) == [f"F{n}" for n in range(1, 24)]
        assert list(ROWS) == [f"F{n}" for n in range(1, 24)]
        assert all(row.happens in text and row.holds in text for row in ROWS.values())
    assert str(ROOT) not in written and "0 of 23 rows are ok." in made


@pytest.mark.parametrize(
    ("markers", "fixtures", "file", "kind"),
    [
        ({"studio", "slow"}, {"work"}, "studio/test_kill.py", "real"),
        ({"browser"}, {"page"}, "browser/test_pictures.py", "real"),
        (set(), set(), "faults/test_clock.py", "fake"),  # through driver and schedules
        (set(), set(), "faults/test_two_workers.py", "fake"),
        (set(), {"loop", "make_loop"}, "backend/worker/test_worker.py", "fake"),
        (set(), set(), "backend/images/test_decode.py", "none"),
    ],
)
def test_a_tests_own_code_tells_which_label_studio_it_runs_against(markers, fixtures, file, kind):
    assert kind_of(markers, fixtures, ROOT / "tests" / file) == kind


def test_a_row_names_the_label_studio_of_its_tests_that_passed():
    tests = {row: {} for row in ROWS} | {"F1": {"one": "real", "two": "fake", "three": "none"}}
    passed = [record("F1", name) for name in tests["F1"]]
    found = {each.row: each for each in results(tests, passed, "short")}
    assert found["F1"].studio == "real and fake Label Studio" and found["F2"].studio == ""
    failed = [record("F1", "one", "failed"), *passed[1:]]
    assert results(tests, failed, "short")[0].studio == "fake Label Studio"
    assert words(["none"]) == "no Label Studio" and words(["real"]) == "real Label Studio"


def test_the_column_is_written_anew_and_the_figures_stay():
    tests = {row: {"one": "fake"} for row in ROWS}
    made = page(results(tests, [record("F2", "one", kills=3)], "full"), "full", "abc")
    before = made.replace(f"{STUDIOS}\n", "").replace(HEAD, HEAD.replace(" Label Studio |", ""))
    before = before.replace(" fake Label Studio |", "").replace(" |  |  | FAILING", " |  | FAILING")
    expected = re.sub(
        r"^(\| F\d+ \| .+? \| .+? \|)  \|", r"\1 fake Label Studio |", made, flags=re.M
    )
    for text in (before, made):
        assert with_studios(text, tests) == expected


@pytest.mark.slow
def test_a_run_goes_on_where_it_ended_and_its_last_line_is_json(tmp_path, monkeypatch, capfd):
    (tmp_path / "conftest.py").write_text('pytest_plugins = ("tests.reliability.plugin",)')
    (tmp_path / "test_inner.py").write_text(INNER)
    monkeypatch.setenv("RELIABILITY_DIR", str(tmp_path / "records"))
    monkeypatch.setattr(records, "commit", lambda: "abc")
    said = []
    for _ in range(2):
        assert main(["run", "--short", "F2", "F4", "F6", "--tests", str(tmp_path)]) == 1
        said.append(capfd.readouterr().out)
    assert "F2: 1 tests" in said[0] and "F2: passed before" in said[1]
    assert all("F4: 2 tests" in text and "F6: no test" in text for text in said)
    rows = json.loads(said[1].splitlines()[-1])["rows"]
    says = {"ok": True, "label_studio": "no Label Studio"}
    assert rows["F2"] == {**says, "kills": 2, "lost": 0, "back_s": 1.5}
    assert rows["F4"]["ok"] is False and "lost" in rows["F4"]["why"]
    assert rows["F6"] == {"ok": False, "why": "No test."}
