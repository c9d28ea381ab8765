"""What the next labels bring, from the rows that rounds left."""

import numpy as np
import pytest

from backend.store.database import Store
from backend.store.next_labels import MODELS, next_labels


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    yield store
    store.close()


@pytest.fixture
def lease(store):
    return store.acquire()


def trained_round(store, lease, name, images, level, *, after="", gain=None, validation=8):
    """A round that trained model `name` on so many images and compared it with model `after`."""
    round_ = store.open_round(lease, 7, "train", "test", [])
    store.finish_step(lease, round_.id, "trained", {"version": name, "images": images - validation})
    evaluated = {"version": name, "metrics": {"map50": level, "images": validation}}
    if after:
        interval = None if gain is None else [gain - 0.04, gain + 0.04]
        evaluated |= {
            "compared_with": after,
            "difference": {"map50": gain, "interval": interval or [None, None]},
        }
    store.finish_step(lease, round_.id, "evaluated", evaluated)
    store.end_round(lease, round_.id, "served", "")


def curve(store, lease, models, *, start=0, growing=False):
    """Models m0, m1 .. of 0.1 + 0.1 ln(n / 16), 16 labelled images apart."""
    images = 16 * np.arange(1, models + 1)
    level = 0.1 + 0.1 * np.log(images / 16)
    for row in range(models):
        validation = max(3, int(images[row]) // 5) if growing else 8
        after = f"m{row - 1 + start}" if row else ""
        trained_round(
            store, lease, f"m{row + start}", int(images[row]), float(level[row]),
            after=after, gain=float(level[row] - level[row - 1]) if row else None,
            validation=validation,
        )  # fmt: skip


def test_a_project_learns_what_its_next_labels_bring(store, lease):
    assert "no round has trained" in next_labels(store, 7, 16).in_words()
    curve(store, lease, 10, growing=True)
    store.end_round(lease, store.open_round(lease, 7, "refresh", "t", []).id, "served", "")
    found = next_labels(store, 7, 16)
    gain = 0.1 * np.log(176 / 160)
    assert found.expected.models == 10 and found.images == 160  # the refresh is no model
    low, high = found.expected.interval
    assert low < gain < high and found.expected.gain == pytest.approx(gain, abs=0.01)
    words = found.in_words()
    assert words.startswith(
        f"the next 16 labelled images are expected to bring {found.expected.gain:+.3f} mAP50"
        f" (95 % interval {low:+.3f} to {high:+.3f}), by 10 trainings with up to 160 images."
    )
    assert "the validation set went from 3 to 32 images" in words
    json = found.to_json()
    assert json["gain"] == pytest.approx(found.expected.gain, abs=1e-5) and json["reason"] == ""
    assert next_labels(store, 8, 16).expected.reason  # another project


def test_levels_of_different_validation_sets_are_not_subtracted(store, lease):
    """Each round's images are harder than the last one's: levels fall, while each model is better.

    The curve is that of the differences on the same images.
    """
    for row in range(6):
        after, gain = (f"m{row - 1}", 0.03) if row else ("", None)
        trained_round(
            store, lease, f"m{row}", 16 * (row + 1), 0.6 - 0.05 * row, after=after, gain=gain
        )
    assert next_labels(store, 7, 16).expected.gain > 0.01


def test_a_curve_begins_anew_where_nothing_compares_the_models(store, lease):
    """Other labels in the labelling config: the first model after it has none before it."""
    curve(store, lease, 6)
    assert not next_labels(store, 7, 16).expected.reason
    curve(store, lease, 2, start=6)
    found = next_labels(store, 7, 16)
    assert (found.expected.models, found.not_compared) == (2, 6)
    assert found.in_words() == (
        "cannot be told: expected 3 or more evaluated trainings that were compared with the one"
        " before, got 2: 1 more round that trains will do; trainings that do not count, since"
        " nothing compares them: 6"
    )


def test_rows_that_lack_a_figure_are_counted_and_break_nothing(store, lease):
    curve(store, lease, 4)
    trained_round(store, lease, "m4", 80, 0.3, after="m3")  # no label on ENOUGH images: no interval
    assert next_labels(store, 7, 16).not_compared == 4
    trained_round(store, lease, "m5", 96, 0.31, after="m3", gain=0.02)  # m4 was refused
    found = next_labels(store, 7, 16)
    assert (found.expected.models, found.not_compared) == (5, 1)
    for broken in ({}, {"version": "x"}, {"version": "x", "metrics": {"map50": None, "images": 0}}):
        round_ = store.open_round(lease, 7, "train", "test", [])
        store.finish_step(lease, round_.id, "trained", {"images": 90})
        store.finish_step(lease, round_.id, "evaluated", broken)
        store.end_round(lease, round_.id, "failed", "")
    assert next_labels(store, 7, 16) == found


def test_only_the_newest_models_count(store, lease):
    curve(store, lease, MODELS + 2)
    found = next_labels(store, 7, 16).expected
    assert found.models == MODELS
