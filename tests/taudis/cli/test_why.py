"""Why this image, as data and as a sentence: chosen instances, neighbours, what they say."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taudis.cli.why import Neighbour, chosen_instances, why
from taudis.data.pool_reader import save_pool
from taudis.errors import SelectionError
from taudis.selection.params import Labelled
from taudis.selection.strategies import STRATEGIES
from tests.taudis.cli.cli_cases import asked as asked_of
from tests.taudis.cli.cli_cases import call, instance, reason

SEED_SET = Labelled(2.0)


def asked(pool, strategy="taudis", budget=3, **params):
    return asked_of(pool, strategy, budget, labelled=SEED_SET, **params)


# --- as data --------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(data=st.data())
def test_the_chosen_instances_are_the_selections_own(build, data):
    content = data.draw(build.contents())
    strategy = data.draw(st.sampled_from(("taudis", "taudis_cover")))
    measure = data.draw(st.sampled_from(("se", "ce", "cm")))
    remainder = data.draw(st.sampled_from(("layers", "uncertainty", "none")))
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    pool = build.permute(build.pool(content), rng)  # an image's instances do not stand together
    selection = asked(pool, strategy, uncertainty=measure, remainder=remainder)
    top = data.draw(st.integers(0, len(pool) + 1))
    reported = why(pool, selection, top=top, measure=measure)
    assert [one.rank for one in reported] == list(range(1, min(top, len(pool)) + 1))

    found, place = pool.instances, dict(zip(selection.chosen.tolist(), range(99), strict=False))
    for one, row in zip(reported, selection.order, strict=False):
        assert one.image_id == pool.image_ids[row] and one.reason == selection.reasons[one.rank - 1]
        assert one.votes == (selection.votes[row] if strategy == "taudis" else None)
        mine = [i for i in selection.chosen.tolist() if found.image_index[i] == row]
        assert [chosen.row for chosen in one.chosen] == mine
        theirs = np.flatnonzero(found.image_index == row).tolist()
        for chosen in one.chosen:
            at = place[chosen.row]
            assert theirs[chosen.number] == chosen.row and chosen.image_id == one.image_id
            assert (chosen.gain, chosen.layer) == (selection.gains[at], selection.layers[at])
            assert chosen.uncertainty == getattr(pool.uncertainty, measure)[chosen.row]
            assert list(chosen.box) == found.boxes[chosen.row].tolist()
            assert (chosen.label, chosen.score) == (1, 0.5)
    if top >= len(pool):
        listed = [chosen for one in reported for chosen in one.chosen]
        assert set(listed) == set(chosen_instances(pool, selection, measure))
        assert len(listed) == len(selection.chosen)


@settings(max_examples=40)
@given(data=st.data())
def test_gains_and_votes_add_up_to_what_the_selection_says(build, data):
    """In every layer gains count instances once, and a vote weighs 2^-layer."""
    pool = build.pool(data.draw(build.contents()))
    selection = asked(pool, sigma_rule="flat", sigma=0.65)
    reported = why(pool, selection, top=len(pool))
    chosen = [one for image in reported for one in image.chosen]
    covered = selection.diagnostics["coverage"] * len(pool.instances)
    assert sum(one.gain for one in chosen if one.layer == 0) == pytest.approx(covered)
    for image in reported:
        assert image.votes == sum(0.5**one.layer for one in image.chosen)


def test_numbers_are_the_shortest_floats(build):
    pool = build.mixed_pool(20, seed=1)
    for one in chosen_instances(pool, asked(pool)):
        assert np.float32(one.score) == pool.instances.scores[one.row]
        assert len(repr(one.score)) < 13  # float(np.float32(0.3)) has 19 characters


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_says_why(build, strategy):
    pool = build.mixed_pool(12, seed=2)
    selection = asked(pool, strategy, budget=4)
    reported = why(pool, selection, top=4)
    assert len(reported) == 4
    for one, given_ in zip(reported, selection.reasons, strict=False):
        assert one.sentence().startswith(f"Image {one.image_id}, rank {one.rank}: {given_}")
    if "embedding" not in STRATEGIES[strategy].detections:  # it chooses no instances
        assert not any(one.chosen for one in reported)


def test_empty_pools_and_no_ranks(build):
    empty = build.pool({})
    assert why(empty, asked(empty), top=3) == ()
    pool = build.pool({1: [], 2: []})
    assert why(pool, asked(pool), top=0) == ()
    (one, _) = why(pool, asked(pool), top=2)
    assert one.chosen == () and one.votes == 0


def test_another_pools_selection_is_refused(build):
    pool = build.clustered_pool(6, 2, 3, seed=0)
    selection = asked(pool)
    with pytest.raises(SelectionError, match=r"this pool's 5 images, got one of 6"):
        why(pool.subset(np.arange(5)), selection, top=2)
    bare = replace(pool, instances=pool.instances.filter(np.arange(3)),
                   mask_areas=pool.mask_areas[:3],
                   uncertainty=type(pool.uncertainty)(*(np.zeros(3, np.float32),) * 3))  # fmt: skip
    with pytest.raises(SelectionError, match=r"3 instances, got one that chose row \d+"):
        why(bare, selection, top=2)
    with pytest.raises(SelectionError, match=r"a gain and a layer of each .* 0 gains"):
        why(pool, replace(selection, gains=np.zeros(0, np.int64)), top=2)
    with pytest.raises(SelectionError, match="from 0 on, got -1"):
        why(pool, selection, top=-1)


# --- labelled neighbours --------------------------------------------------------------------------


@settings(max_examples=40)
@given(data=st.data())
def test_neighbours_are_the_brute_force_nearest(build, data):
    count = data.draw(st.integers(1, 8))
    vector = st.tuples(*[st.integers(-2, 2)] * 2)
    vectors = data.draw(st.lists(vector, min_size=count, max_size=count))
    ids = data.draw(st.permutations(range(100, 100 + count)))
    scenes = data.draw(build.scenes())
    pool = build.scene_pool(scenes)
    labelled = Labelled(2.0, np.array(vectors, np.float32), np.array(ids))
    selection = asked(pool)
    for one in why(pool, selection, top=len(pool), labelled=labelled):
        mine = np.array(scenes[one.image_id][0], float)
        cosines = {}
        for number, other in zip(ids, np.array(vectors, float), strict=True):
            lengths = np.linalg.norm(mine) * np.linalg.norm(other)
            cosines[number] = mine @ other / lengths if lengths else 0.0
        assert len(one.neighbours) == min(3, count)
        reported = [near.cosine for near in one.neighbours]
        assert reported == sorted(reported, reverse=True)
        assert np.allclose(reported, sorted(cosines.values(), reverse=True)[:3], atol=1e-5)
        for near in one.neighbours:
            assert near.cosine == pytest.approx(cosines[near.image_id], abs=1e-5)
            assert -1 <= near.cosine <= 1


def test_the_smaller_id_wins_a_tie_and_many_images_go_in_blocks(build):
    pool = build.mixed_pool(150, seed=3)
    vectors = np.random.default_rng(3).normal(size=(150, 5)).astype(np.float32)
    pool = replace(pool, image_embeddings=vectors)
    twice = np.concatenate([pool.image_embeddings] * 2)
    labelled = Labelled(2.0, twice, np.concatenate([pool.image_ids + 5000, pool.image_ids]))
    for one in why(pool, asked(pool), top=150, labelled=labelled):
        first, second = one.neighbours[:2]
        assert (first.image_id, second.image_id) == (one.image_id, one.image_id + 5000)
        assert first.cosine == pytest.approx(1, abs=1e-6) and first.cosine <= 1


def test_no_ids_give_no_neighbours_and_another_width_is_refused(build):
    pool = build.mixed_pool(5, seed=4)
    without = Labelled(2.0, pool.image_embeddings)
    assert all(one.neighbours == () for one in why(pool, asked(pool), top=5, labelled=without))
    narrow = Labelled(2.0, pool.image_embeddings[:, :2], pool.image_ids)
    with pytest.raises(SelectionError, match="width 5 as the pool's, got 2"):
        why(pool, asked(pool), top=5, labelled=narrow)


# --- as a sentence --------------------------------------------------------------------------------


HEAD = "Image 7, rank 2: the reason"
PLACE = "at (20, 40) with score 0.50 and segmentation entropy 0.512"


@pytest.mark.parametrize(
    ("reported", "sentence"),
    [
        (reason(), f"{HEAD}."),
        (reason(instance()), f"{HEAD}; all of them by the instance of label 1 {PLACE}."),
        (
            reason(instance(3), instance(1234, uncertainty=0.4), instance(1234)),
            f"{HEAD}; 1234 of them by the instance of label 1 at (20, 40) with score 0.50 and"
            " segmentation entropy 0.400.",
        ),
        # What came after the cover was complete, or covers nothing, is not counted in the reason.
        (reason(instance(9, layer=1), instance(0)), f"{HEAD}."),
        (
            reason(instance(9, layer=1), instance(4)),
            f"{HEAD}; all of them by the instance of label 1 {PLACE}.",
        ),
        (
            reason(neighbours=[Neighbour(3, 0.98765), Neighbour(4, 0.5)]),
            f"{HEAD}; the labelled image most like it is 3 (cosine 0.988).",
        ),
        (
            reason(instance(), measure="cm"),
            f"{HEAD}; all of them by the instance of label 1 at (20, 40) with score 0.50 and"
            " classification margin 0.512.",
        ),
    ],
)
def test_sentences(reported, sentence):
    assert reported.sentence() == sentence


def test_labels_are_named_where_names_are_given():
    reported = reason(instance(label=2), measure="ce").sentence(("cell", "bud"))
    assert "by the bud at (20, 40) with score 0.50 and classification entropy 0.512." in reported


def test_the_figures_of_the_sentence_agree_with_the_reason(build):
    """The strategy's own words count what the chosen instances newly cover: both say the same."""
    pool = build.clustered_pool(20, 4, 6, seed=5)
    for one in why(pool, asked(pool), top=3):
        total = sum(chosen.gain for chosen in one.chosen if chosen.layer == 0)
        assert total == 0 or f"{total} pool instance" in one.sentence()


# --- in the ranking's JSON ------------------------------------------------------------------------


def test_the_ranking_says_why_for_the_budgets_images(tmp_path, build):
    pool = build.mixed_pool(30, seed=6)
    names = ("cell", "bud", "scar")
    seen, rest = np.arange(8), np.arange(8, 30)
    save_pool(tmp_path / "seen.safetensors", pool.subset(seen), label_names=names)
    save_pool(tmp_path / "pool.safetensors", pool.subset(rest), label_names=names)
    out = tmp_path / "ranked.json"
    arguments = ["select", tmp_path / "pool.safetensors", 4, "--out", out]
    arguments += ["--labelled", tmp_path / "seen.safetensors", "--uncertainty", "ce"]
    call(*arguments)
    document = json.loads(out.read_text(encoding="utf-8"))
    assert ["why" in image for image in document["images"]] == [True] * 4 + [False] * 18
    everything = document["chosen"]
    for image in document["images"][:4]:
        reported = image["why"]
        assert set(reported) == {"sentence", "chosen", "neighbours"}
        assert reported["sentence"].startswith(f"Image {image['image_id']}, rank {image['rank']}: ")
        assert reported["chosen"] == [
            one for one in everything if one["image_id"] == image["image_id"]
        ]
        known = {int(number) for number in pool.image_ids[seen]}
        assert len(reported["neighbours"]) == 3
        assert {near["image_id"] for near in reported["neighbours"]} <= known
    assert {one["label"] for one in everything} <= set(names)
    keys = {"image_id", "number", "box", "label", "score", "uncertainty", "gain", "layer"}
    assert all(set(one) == keys for one in everything)
