"""The jobs of a grid: names, order, what each follows on."""

from __future__ import annotations

import pytest

from taudis.errors import DataError
from taudis.simulation.jobs import Job, jobs_of, read_seeds


def test_the_order_is_gate_first_then_seed_by_seed_and_round_by_round():
    found = jobs_of(["a", "b/c"], [3, 5], 2, all_labels=True)
    assert [job.name for job in found] == [
        "seed_set/3", "seed_set/5", "all/3", "all/5",
        "a/3/1", "b/c/3/1", "a/3/2", "b/c/3/2", "a/5/1", "b/c/5/1", "a/5/2", "b/c/5/2",
    ]  # fmt: skip
    assert [Job.find(job.name, found) for job in found] == found
    assert not [job for job in jobs_of(["a"], [0], 1, all_labels=False) if job.kind == "all"]


def test_every_job_comes_after_the_one_it_follows_on():
    found = jobs_of(["a", "b"], [0, 1], 3, all_labels=True)
    for place, job in enumerate(found):
        assert job.before is None or job.before in found[:place]
    assert Job("round", 2, "a", 1).before == Job("seed_set", 2)
    assert Job("round", 2, "a", 3).before == Job("round", 2, "a", 2)


def test_the_job_of_a_row():
    row = {"kind": "round", "seed": 1, "strategy": "a", "round": 2}
    assert Job.of_row(row) == Job("round", 1, "a", 2)
    assert Job.of_row({**row, "kind": "all", "strategy": None, "round": None}) == Job("all", 1)
    with pytest.raises(ValueError, match="kind 'half'"):
        Job.of_row({**row, "kind": "half"})


def test_an_unknown_row_is_refused_with_names_that_exist():
    with pytest.raises(DataError, match="such as a/0/1; got 'a/0'"):
        Job.find("a/0", [Job("round", 0, "a", 1)])


@pytest.mark.parametrize(
    ("text", "seeds"), [("0-4", [0, 1, 2, 3, 4]), ("7", [7]), ("5,0-2,1", [0, 1, 2, 5])]
)
def test_seeds(text, seeds):
    assert read_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "4-0", "-1", "a", "0-", "0-99999999"])
def test_wrong_seeds(text):
    with pytest.raises(DataError, match="expected whole numbers such as 0-4"):
        read_seeds(text)
