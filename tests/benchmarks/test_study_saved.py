"""The table of labels saved, on made-up rows of both divisions of the sets."""

from __future__ import annotations

from benchmarks.study_saved import labels_saved_on_sets
from tests.benchmarks.test_study_rule import LOW, MIDDLE, rows_of

HALFWAY = (0.3, 0.3)
"""After one round of 10 images as good as LOW after both: 20 of 30 images with the seed set."""


def table(rows):
    """(set, strategy, reference) -> the other cells of the table."""
    lines = [line.strip("| ").split(" | ") for line in labels_saved_on_sets(rows).splitlines()[2:]]
    return {tuple(cells[:3]): cells[3:] for cells in lines}


def test_both_divisions_of_a_set_count_together(tmp_path):
    found = table(rows_of(tmp_path, random=LOW, foreground_random=LOW, taudis=HALFWAY))
    seeds, _, p, corrected, *saved = found["highway_cam", "`taudis`", "`random`"]
    assert (seeds, saved[0]) == ("6", "33 % (33 to 33)")
    # All six differences are equal: 2 of 64 patterns of signs are as far from 0. Two strategies.
    assert (p, corrected) == ("0.031", "0.062")
    assert found["facades", "`taudis`", "`foreground_random`"][4] == "33 % (33 to 33)"
    assert found["highway_cam", "`foreground_random`", "`random`"][4] == "0 % (0 to 0)"


def test_a_target_that_is_not_reached_bounds_the_share(tmp_path):
    found = table(rows_of(tmp_path, random=MIDDLE, foreground_random=MIDDLE, taudis=LOW))
    assert found["facades", "`taudis`", "`random`"][4] == "at most 0 % (unknown to 0)"


def test_fewer_than_five_seeds_are_no_line(tmp_path):
    rows = rows_of(tmp_path, random=LOW, foreground_random=LOW, taudis=HALFWAY)
    assert not table([row for row in rows if row.data in ("facades", "highway_cam-8_images")])
