"""Comparisons of made-up curves whose answer is known."""

from __future__ import annotations

import pytest

from taudis.simulation.comparison import compare
from taudis.simulation.costs import Seconds
from taudis.simulation.curves import AXES
from taudis.simulation.paired_curves import Choice, paired_curves
from taudis.simulation.result_rows import read_results
from taudis.simulation.statistics import Interval
from tests.taudis.simulation.result_cases import RANDOM, TWICE, on_seeds, result_rows, save_rows

FLAT = (0.1, 0.1, 0.1, 0.1)


@pytest.fixture
def compared(tmp_path):
    def run(rounds, *, choice=None, **more):
        path = save_rows(tmp_path / "rows.jsonl", result_rows(rounds, **more))
        return compare(paired_curves(read_results([path]).rows, choice or Choice())[0])

    return run


def test_half_of_the_labels_on_every_seed_is_half_saved_without_doubt(compared):
    found = compared(on_seeds(5, random=RANDOM, taudis=TWICE)).strategies[0]
    saved = found.saved["images"]
    assert saved.interval.to_list() == [0.5, 0.5, 0.5]
    assert saved.not_reached == 0 and saved.by_seed.to_list() == [0.5, 0.5, 0.5]


def test_an_identical_strategy_saves_nothing(compared):
    found = compared(on_seeds(5, random=RANDOM, same=RANDOM)).strategies[0]
    for axis in AXES:
        assert found.saved[axis].interval == found.saved[axis].by_seed == Interval(0.0, 0.0, 0.0)
        assert found.area[axis].more == Interval(0.0, 0.0, 0.0)
        assert found.area[axis].p == found.area[axis].p_holm == 1.0


def test_a_strategy_that_never_gets_there_is_censored_not_dropped(compared):
    found = compared(on_seeds(5, random=RANDOM, wse=FLAT)).strategies[0]
    saved = found.saved["images"]
    assert saved.interval == Interval(None, None, 0.0)
    assert saved.by_seed == saved.interval
    assert (saved.at_most, saved.not_reached) == (0.0, 5)


def test_one_censored_seed_counts_as_the_lowest(compared):
    """The mean of four TWICE and a FLAT: 0.1, 0.34, 0.5 at 30 images.

    A resample with the flat seed three times or more (probability 0.058) ends at 0.38.
    """
    rounds = on_seeds(5, random=RANDOM, taudis=TWICE)
    rounds["taudis"][3] = FLAT
    saved = compared(rounds).strategies[0].saved["images"]
    assert saved.interval.low is None and saved.not_reached == 1
    assert (saved.interval.middle, saved.interval.high) == pytest.approx((0.4, 0.5))
    assert saved.by_seed.low is None
    assert (saved.by_seed.middle, saved.by_seed.high) == pytest.approx((0.5, 0.5))


def test_the_share_is_read_off_the_mean_curves(compared):
    """random: means .15 .3 .35 .5 (of two seeds); late: .1 .4 .6: reaches .5 at 35 images.

    By seed the targets differ: seed 0 is reached at 40 of 50 images, seed 1 at 33.3 of 50.
    """
    rounds = {
        "random": {0: (0.1, 0.2, 0.3, 0.6), 1: (0.2, 0.4, 0.4, 0.4)},
        "late": {0: (0.1, 0.3, 0.6, 0.6), 1: (0.1, 0.3, 0.6, 0.6)},
    }
    saved = compared(rounds).strategies[0].saved["images"]
    assert saved.interval.middle == pytest.approx(1 - (30 + 10 * 0.2 / 0.3) / 50)
    shares = sorted([1 - 40 / 50, 1 - (30 + 10 / 3) / 30])  # seed 1 has its 0.4 at 30 images
    assert saved.by_seed.to_list() == pytest.approx(
        [shares[0], sum(shares) / 2, shares[1]], abs=1e-4
    )


def test_the_most_to_save_is_read_off_the_mean_curve_too(compared):
    """random: means .1 .275 .3 .325 .35: its end is reached at 50 images, not before."""
    rounds = on_seeds(2, taudis=TWICE)
    rounds["random"] = {0: (0.45, 0.3, 0.3, 0.3), 1: (0.1, 0.3, 0.35, 0.4)}
    found = compared(rounds)
    assert found.most_to_save["images"] == pytest.approx(1 - 10 / 50)
    saved = found.strategies[0].saved["images"]
    assert saved.interval.middle <= found.most_to_save["images"]


def test_twice_the_objects_cost_the_advantage(compared):
    """At 25 images half of the images are saved; of the objects 80 of 100 are needed by then."""
    rounds = on_seeds(5, random=RANDOM, taudis=TWICE)
    choice = Choice(seconds=Seconds(look=0, draw=60))
    found = compared(rounds, objects={"taudis": 40}, choice=choice).strategies[0]
    assert found.saved["images"].interval.middle == pytest.approx(0.5)
    assert found.saved["objects"].interval.to_list() == [0.2, 0.2, 0.2]
    assert found.saved["seconds"].interval.to_list() == [0.2, 0.2, 0.2]
    assert found.labels == {"images": 50, "objects": 180, "seconds": 180 * 60}


def test_seconds_count_corrections_where_they_are_known(compared):
    """Seed set 10 * 1 + 20 * 10; a round of random 10 + 200, of taudis 10 + 2 * 5 + 18 * 1 + 10."""
    choice = Choice(seconds=Seconds(look=1, draw=10, reshape=5, accept=1, remove=1))
    fixes = {"taudis": {"accepted": 18, "reshaped": 2, "added": 1, "removed": 0}}
    found = compared(on_seeds(2, random=RANDOM, taudis=RANDOM), corrections=fixes, choice=choice)
    assert found.reference_labels["seconds"] == 210 + 4 * 210
    assert found.strategies[0].labels["seconds"] == 210 + 4 * 48
    assert found.strategies[0].saved["seconds"].interval.middle == pytest.approx(1 - 402 / 1050)
    assert (found.data.with_corrections, found.data.by_hand) == (8, 8)


def test_areas_against_a_calculation_by_hand(compared):
    """random: heights .15 .25 .35 .45 between points; taudis: .25 .5 .65 .75."""
    found = compared(on_seeds(5, random=RANDOM, taudis=TWICE))
    area = found.strategies[0].area["images"]
    assert found.reference_area["images"].middle == pytest.approx(0.3)
    assert area.area.middle == pytest.approx(0.5375)
    assert area.more.to_list() == [0.2375, 0.2375, 0.2375]
    assert area.p == pytest.approx(1 / 16)


def test_areas_end_at_the_labels_that_both_have(compared):
    """taudis has 100 objects after its second round of 40; random after its fourth of 20."""
    found = compared(on_seeds(5, random=RANDOM, taudis=TWICE), objects={"taudis": 40})
    area = found.strategies[0].area["objects"]
    assert area.area.middle == pytest.approx((0.25 + 0.5) / 2)
    assert area.more.middle == pytest.approx(0.375 - 0.3)


def test_seeds_are_paired(compared):
    """Each seed has its own target; a strategy that is 0.01 better everywhere gains 0.01 exactly.

    Unpaired, the spread of 0.1 to 0.4 between the seeds would hide it.
    """
    bases = (0.0, 0.1, 0.2, 0.3, 0.4)
    rounds = {
        "random": {seed: tuple(base + each for each in RANDOM) for seed, base in enumerate(bases)},
        "better": {
            seed: tuple(base + each + 0.01 for each in RANDOM) for seed, base in enumerate(bases)
        },
    }
    found = compared(rounds).strategies[0]
    gain = 0.01 * 3.5 / 4  # the seed set is the same
    assert found.area["images"].more.to_list() == [round(gain, 4)] * 3
    assert found.saved["images"].interval.middle == pytest.approx(1 / 50)  # 49 of 50 images


def test_a_target_below_the_seed_set_needs_no_labels(compared):
    worse = (0.05, 0.05, 0.05, 0.05)
    found = compared(on_seeds(3, random=worse, taudis=TWICE))
    assert found.strategies[0].saved["images"].interval == Interval(0.0, 0.0, 0.0)
    assert found.most_to_save["images"] == 0.0


def test_p_is_corrected_for_the_strategies(compared):
    found = compared(on_seeds(5, random=RANDOM, one=TWICE, two=TWICE, three=RANDOM))
    p = {
        each.name: (each.area["images"].p, each.area["images"].p_holm) for each in found.strategies
    }
    assert p["one"] == p["two"] == pytest.approx((1 / 16, 3 / 16))
    assert p["three"] == (1.0, 1.0) and found.smallest_p == pytest.approx(3 / 16)
    assert [each.name for each in found.strategies][-1] == "three"


def test_another_reference(compared):
    found = compared(
        on_seeds(5, random=RANDOM, taudis=TWICE), choice=Choice(reference="taudis")
    ).strategies[0]
    assert found.name == "random" and found.saved["images"].interval.high == 0.0


def test_the_signal_gate_is_part_of_it(compared):
    rounds = on_seeds(5, random=RANDOM, taudis=TWICE)
    assert compared(rounds).signal.passed is None
    assert compared(rounds, all_labels=(0.8, 0.82)).signal.passed is True
    assert compared(rounds, all_labels=(0.1, 0.12)).signal.passed is False
