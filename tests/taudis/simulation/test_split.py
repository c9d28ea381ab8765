"""The division of images by scenes, and the seeds that depend on names alone."""

from __future__ import annotations

import pytest

from taudis.errors import DataError
from taudis.simulation.split import derived_seed, folds, scenes_of, seed_set, split

NAMES = [f"cam{scene}_{frame}.png" for scene in range(20) for frame in range(scene % 4 + 1)]
GROUP = r"^cam(\d+)_"


def test_scenes_are_the_parts_in_brackets():
    names = ["a1_x7.png", "a1_y7.png", "a1_x8.png", "other.png"]
    one, two, three, four = scenes_of(names, r"^(a\d)_.(\d)")
    assert one == two != three and four == "other.png"
    assert scenes_of(names, "") == names


@pytest.mark.parametrize("seed", range(5))
def test_no_scene_is_divided_and_the_share_is_reached(seed):
    train, test = split(NAMES, share=0.3, seed=seed, group=GROUP)
    assert sorted(train + test) == list(range(len(NAMES)))
    scenes = scenes_of(NAMES, GROUP)
    assert not {scenes[row] for row in train} & {scenes[row] for row in test}
    assert 0.3 * len(NAMES) <= len(test) < 0.3 * len(NAMES) + 4


def test_the_division_depends_on_names_and_seed_alone():
    def tested(names, seed):
        return {names[row] for row in split(names, share=0.3, seed=seed, group=GROUP)[1]}

    assert tested(NAMES, 0) == tested(NAMES[::-1], 0)
    assert tested(NAMES, 0) != tested(NAMES, 1)


@pytest.mark.parametrize(
    ("group", "share", "message"),
    [
        ("(", 0.2, "expected a regular expression"),
        ("cam", 0.2, "expected brackets"),
        ("^dog(.)", 0.2, "which matches none"),
        ("^(cam)", 0.2, "expected scenes for both training and test, got 1 scenes"),
        ("", 0.0, "expected a number between 0 and 1"),
        ("", 1.0, "expected a number between 0 and 1"),
    ],
)
def test_what_cannot_be_divided_is_refused(group, share, message):
    with pytest.raises(DataError, match=message):
        split(NAMES, share=share, seed=0, group=group)


def test_seed_sets_do_not_depend_on_the_order_of_ids_and_grow():
    ids = list(range(100, 160))
    assert seed_set(ids, 8, 3) == seed_set(ids[::-1], 8, 3) == seed_set(ids, 20, 3)[:8]
    assert seed_set(ids, 8, 3) != seed_set(ids, 8, 4) and len(set(seed_set(ids, 8, 3))) == 8


def test_every_image_is_as_likely_to_be_in_a_seed_set():
    counts = dict.fromkeys(range(40), 0)
    for seed in range(2000):
        for number in seed_set(range(40), 10, seed):
            counts[number] += 1
    spread = (2000 * 0.25 * 0.75) ** 0.5
    assert all(abs(count - 500) < 4.5 * spread for count in counts.values())


def test_derived_seeds_differ_and_fit_31_bits():
    found = [derived_seed("train", seed, number) for seed in range(9) for number in range(9)]
    assert len(set(found)) == 81 and all(0 <= seed < 2**31 for seed in found)
    assert derived_seed("train", 1, 2) == derived_seed("train", 1, 2) != derived_seed("s", 1, 2)


def test_folds_hold_every_row_once_and_no_scene_twice():
    names = [f"{scene}_{frame}" for scene in "abcdefg" for frame in range(5)]
    found = folds(names, count=3, seed=1, group="^(.)_")
    assert sorted(row for rows in found for row in rows) == list(range(35))
    scenes = [{names[row][0] for row in rows} for rows in found]
    assert sum(map(len, scenes)) == 7 and sorted(map(len, found)) == [10, 10, 15]
    assert found != folds(names, count=3, seed=2, group="^(.)_")
    with pytest.raises(DataError, match="--folds: expected 2 to 7, the number of scenes, got 8"):
        folds(names, count=8, seed=1, group="^(.)_")
