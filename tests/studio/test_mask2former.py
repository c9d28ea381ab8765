"""MODEL=mask2former on a real Label Studio: a round of few steps, its order, its masks drawn."""

import pytest

from backend.label_studio.label_config import parse_label_config
from backend.label_studio.regions.decode import decode_annotation
from taudis.detector.card import read_card
from tests.studio.loop import Loop, make_pictures, make_project

pytestmark = [pytest.mark.studio, pytest.mark.slow]

SIZE = 64
SETTINGS = {"MODEL": "mask2former", "WEIGHTS": "none", "MAX_STEPS": "16", "EMBEDDING": "query"}


@pytest.fixture
def loop(studio, tmp_path):
    made = Loop(studio, tmp_path / "backend", **SETTINGS)
    try:
        made.start_web()
        made.start_worker()
        yield made
    finally:
        made.close()


def drawn_px(row, config):
    """The px of each object that a prediction draws, by our own reader of regions."""
    target = decode_annotation(row["result"], config, size=(SIZE, SIZE)).target
    return target.masks.sum((1, 2)).tolist()


def test_a_round_trains_orders_and_draws_with_a_mask2former(loop, tmp_path, capsys):
    work = make_project(loop, make_pictures(tmp_path / "pictures", 12, size=SIZE), "Queries")
    work.label_some(5)
    round_ = work.train()
    assert round_.outcome == "served", round_.message
    trained = round_.steps["trained"]["version"]
    card = read_card(loop.data / "models" / str(work.id) / trained)
    assert card["model"]["architecture"] == "mask2former" and card["recipe"]["steps"] == 16

    # Every open task has its rank, and its masks are drawn in the picture.
    version = work.check_whole()
    config = parse_label_config(work.current()["label_config"])
    drawn = {row["task"]: drawn_px(row, config) for row in work.rows(version)}
    assert any(drawn.values()) and all(px > 0 for each in drawn.values() for px in each)
    work.label_next()  # Label Studio serves the first of the order
    with capsys.disabled():
        count = sum(map(len, drawn.values()))
        print(f"\n{count} masks drawn in {len(drawn)} tasks; mAP50 {card['metrics']['map50']}")

    # The next round begins with this model's labels and the new one, and is told apart from it.
    assert work.train().steps["trained"]["version"] != trained
