"""The step `scored`: what it leaves for the selection, whichever attempt wrote it."""

from backend.worker import score
from taudis.data.pool_reader import load_pool
from taudis.selection.params import Labelled, SelectionParams
from taudis.selection.strategies import STRATEGIES, query
from tests.backend.worker.round_cases import BUDGET, open_round, run


def test_the_strategies_that_start_from_labelled_images_are_those_that_look_at_them(make_desk):
    desk = make_desk()
    folder = desk.round_dir(run(desk, open_round(desk), "scored"))
    pool, seen = load_pool(folder / score.POOL_FILE), load_pool(folder / score.LABELLED_FILE)

    def utilities(name, labelled):
        found = query(
            name, pool, budget=BUDGET, labelled=labelled, params=SelectionParams(), seed=0
        )
        return found.utilities.tolist()

    bare, full = Labelled(2.0), Labelled(2.0, seen.image_embeddings, seen.image_ids)
    look = {name for name in STRATEGIES if utilities(name, bare) != utilities(name, full)}
    assert look == {name for name in STRATEGIES if STRATEGIES[name].labelled_embeddings}


def test_what_a_killed_attempt_saw_does_not_outlive_a_change_of_strategy(make_desk):
    desk = make_desk()
    round_ = open_round(desk)
    score.scored(desk, round_, lambda progress: None)  # killed before its row
    run(make_desk(strategy="random"), round_, "scored")
    assert not (desk.round_dir(round_) / score.LABELLED_FILE).exists()
