"""Why this image: the chosen instances, the neighbours, the sentence, and the picture."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.image import imread
from PIL import Image as PillowImage
from typer.testing import CliRunner

from taudis.__main__ import app
from taudis.cli import why_picture
from taudis.cli.why import ChosenInstance, Neighbour, Why, chosen_instances, why
from taudis.cli.why_picture import check_picture_path, draw, look_again, matched, outlines
from taudis.data.pool_reader import load_pool, save_pool
from taudis.detector.checkpoint import save_checkpoint
from taudis.errors import DataError, SelectionError
from taudis.selection.params import Labelled, SelectionParams
from taudis.selection.strategies import STRATEGIES, query
from taudis.types import Detection, Instances
from tests.taudis.detector_cases import LABELS, detector, picture, save_coco

SEED_SET = Labelled(2.0)


def asked(pool, strategy="taudis", budget=3, **params):
    return query(
        strategy, pool, budget=budget, labelled=SEED_SET, params=SelectionParams(**params), seed=0
    )  # fmt: skip


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
    told = why(pool, selection, top=top, measure=measure)
    assert [one.rank for one in told] == list(range(1, min(top, len(pool)) + 1))

    found, place = pool.instances, dict(zip(selection.chosen.tolist(), range(99), strict=False))
    for one, row in zip(told, selection.order, strict=False):
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
        listed = [chosen for one in told for chosen in one.chosen]
        assert set(listed) == set(chosen_instances(pool, selection, measure))
        assert len(listed) == len(selection.chosen)


@settings(max_examples=40)
@given(data=st.data())
def test_gains_and_votes_add_up_to_what_the_selection_says(build, data):
    """In every layer gains count instances once, and a vote weighs 2^-layer."""
    pool = build.pool(data.draw(build.contents()))
    selection = asked(pool, sigma_rule="flat", sigma=0.65)
    told = why(pool, selection, top=len(pool))
    chosen = [one for image in told for one in image.chosen]
    covered = selection.diagnostics["coverage"] * len(pool.instances)
    assert sum(one.gain for one in chosen if one.layer == 0) == pytest.approx(covered)
    for image in told:
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
    told = why(pool, selection, top=4)
    assert len(told) == 4
    for one, reason in zip(told, selection.reasons, strict=False):
        assert one.sentence().startswith(f"Image {one.image_id}, rank {one.rank}: {reason}")
    if "embedding" not in STRATEGIES[strategy].detections:  # it chooses no instances
        assert not any(one.chosen for one in told)


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
        told = [near.cosine for near in one.neighbours]
        assert told == sorted(told, reverse=True)
        assert np.allclose(told, sorted(cosines.values(), reverse=True)[:3], atol=1e-5)
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


def instance(gain=10, layer=0, label=1, **more):
    told = {"row": 0, "image_id": 7, "number": 0, "score": 0.5, "box": (10.0, 20.0, 30.0, 60.0),
            "uncertainty": 0.51234}  # fmt: skip
    return ChosenInstance(**(told | {"gain": gain, "layer": layer, "label": label} | more))


def reason(*chosen, neighbours=(), measure="se"):
    return Why(2, 7, 1.0, tuple(chosen), tuple(neighbours), "the reason", measure)


HEAD = "Image 7, rank 2: the reason"
PLACE = "at (20, 40) with score 0.50 and segmentation entropy 0.512"


@pytest.mark.parametrize(
    ("told", "sentence"),
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
def test_sentences(told, sentence):
    assert told.sentence() == sentence


def test_labels_are_named_where_names_are_given():
    told = reason(instance(label=2), measure="ce").sentence(("cell", "bud"))
    assert "by the bud at (20, 40) with score 0.50 and classification entropy 0.512." in told


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
    done = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    document = json.loads(out.read_text(encoding="utf-8"))
    assert ["why" in image for image in document["images"]] == [True] * 4 + [False] * 18
    everything = document["chosen"]
    for image in document["images"][:4]:
        told = image["why"]
        assert set(told) == {"sentence", "chosen", "neighbours"}
        assert told["sentence"].startswith(f"Image {image['image_id']}, rank {image['rank']}: ")
        assert told["chosen"] == [one for one in everything if one["image_id"] == image["image_id"]]
        known = {int(number) for number in pool.image_ids[seen]}
        assert len(told["neighbours"]) == 3
        assert {near["image_id"] for near in told["neighbours"]} <= known
    assert {one["label"] for one in everything} <= set(names)
    keys = {"image_id", "number", "box", "label", "score", "uncertainty", "gain", "layer"}
    assert all(set(one) == keys for one in everything)


# --- the picture ----------------------------------------------------------------------------------

SIDE = 120


def seen_once(boxes, *, labels=None, size=(SIDE, SIDE)):
    """A detection whose masks fill their boxes."""
    n = len(boxes)
    found = Instances(
        np.zeros(n, np.int64),
        np.array(boxes, np.float32).reshape(n, 4),
        np.full(n, 0.5, np.float32),
        np.ones(n, np.int64) if labels is None else np.array(labels),
        np.full((n, 3), 1 / 3, np.float32),
        np.zeros((n, 2), np.float32),
        np.ones((n, 28, 28), np.float32),
    )
    return Detection(found, np.zeros(2, np.float32), size)


BOXES = [(10.0, 10.0, 40.0, 40.0), (60.0, 70.0, 110.0, 100.0), (61.0, 72.0, 108.0, 99.0)]


def test_instances_are_found_again_by_label_and_box():
    told = reason(instance(box=BOXES[1]), instance(box=BOXES[0]))
    assert matched(told, seen_once(BOXES[::-1])) == [1, 2]
    moved = [tuple(side + 0.9 for side in box) for box in BOXES]
    assert matched(told, seen_once(moved)) == [1, 0]
    assert matched(told, seen_once(BOXES, labels=[1, 1, 2])) == [1, 0]


@pytest.mark.parametrize(
    ("again", "message"),
    [
        (seen_once([(10.0, 13.0, 40.0, 40.0)]), r"image 7: expected detection 0 .* is 3\.0 px off"),
        (seen_once(BOXES[:1], labels=[2]), "got none of its label"),
        (seen_once([]), "got none of its label"),
    ],
)
def test_another_models_detections_are_refused(again, message):
    with pytest.raises(DataError, match=message):
        matched(reason(instance(box=BOXES[0])), again)


def test_a_large_box_may_be_off_by_a_share_of_its_side():
    told = reason(instance(box=(0.0, 0.0, 1000.0, 10.0)))
    assert matched(told, seen_once([(0.0, 0.0, 981.0, 10.0)], size=(1000, 1000))) == [0]
    with pytest.raises(DataError, match=r"21\.0 px off"):
        matched(told, seen_once([(0.0, 0.0, 979.0, 10.0)], size=(1000, 1000)))


def test_outlines_run_along_the_masks_border():
    (line,) = outlines(seen_once(BOXES), 1)
    assert np.array_equal(line[0], line[-1])
    assert np.allclose(line.min(0), (60, 70), atol=1) and np.allclose(
        line.max(0), (109, 99), atol=1
    )
    empty = seen_once(BOXES)
    empty = replace(
        empty, instances=replace(empty.instances, mask_probs=np.zeros((3, 28, 28), np.float32))
    )
    (line,) = outlines(empty, 0)
    assert line.tolist() == [[10, 10], [40, 10], [40, 40], [10, 40], [10, 10]]


def panel_pixels(path, monkeypatch, told, found, image):
    """The picture [h,w,3] 0..1, and where an image's px (x, y) lie in it."""
    figures = []
    made = why_picture._figure
    monkeypatch.setattr(
        why_picture, "_figure", lambda *a: figures.append(made(*a)) or figures[-1]
    )  # fmt: skip
    draw(path, [(told, image, found)], ("cell", "bud"))
    axes = figures[0].axes[0]
    pixels = imread(path)[..., :3]
    scale = pixels.shape[1] / figures[0].bbox.width

    def at(x, y):
        across, up = axes.transData.transform((x, y)) * scale
        return round(pixels.shape[0] - up), round(across)

    return pixels, at


@pytest.mark.parametrize("layer", [0, 1])
def test_the_outline_is_where_the_mask_is(tmp_path, monkeypatch, layer):
    """Coloured along the border of the chosen instance and nowhere else in the image."""
    image = np.full((SIDE, SIDE, 3), 60, np.uint8)
    told = reason(instance(25, layer, box=BOXES[1]))
    path = tmp_path / "why.png"
    pixels, at = panel_pixels(path, monkeypatch, told, seen_once(BOXES[:2]), image)
    coloured = np.ptp(pixels, axis=2) > 0.3
    top, left = at(0, 0)
    bottom, right = at(SIDE - 1, SIDE - 1)
    rows, columns = np.nonzero(coloured[top:bottom, left:right])
    near = [at(x, y) for x, y in ((60, 70), (109, 99))]
    assert abs(rows.min() + top - near[0][0]) <= 4 and abs(columns.min() + left - near[0][1]) <= 4
    assert abs(rows.max() + top - near[1][0]) <= 4 and abs(columns.max() + left - near[1][1]) <= 4
    inside = coloured[at(60, 80)[0] : at(60, 90)[0], at(65, 80)[1] : at(104, 80)[1]]
    assert not inside.any()
    border = coloured[at(60, 70)[0] - 3 : at(60, 70)[0] + 4, at(62, 70)[1] : at(107, 70)[1]].any(0)
    share = border.mean()
    assert share == 1 if layer == 0 else 0.4 < share < 0.95  # dashed after the cover
    # The other detection is outlined in grey, lighter than the image.
    y, x = at(25, 10)
    other = pixels[y - 3 : y + 4, x - 3 : x + 4]
    assert other.max() > 60 / 255 + 0.1 and np.ptp(other, axis=2).max() < 0.05
    assert np.allclose(pixels[at(90, 30)], 60 / 255, atol=0.02)


def test_the_picture_has_a_panel_for_each_image_and_is_left_whole(tmp_path):
    rng = np.random.default_rng(0)
    images = [
        rng.integers(0, 255, (30, 900, 3)).astype(np.uint8),
        *rng.integers(0, 255, (6, SIDE, SIDE, 3)).astype(np.uint8),
    ]
    told = replace(reason(), votes=None)
    seen = [(told, image, seen_once([], size=image.shape[:2])) for image in images]
    for name, kind in (("why.jpg", "JPEG"), ("why.png", "PNG")):
        draw(tmp_path / name, iter(seen if kind == "PNG" else seen[:1]))
        with PillowImage.open(tmp_path / name) as made:
            assert made.format == kind
            assert made.width >= 250 * (5 if kind == "PNG" else 1)
            assert np.asarray(made.convert("L")).std() > 20
    before = (tmp_path / "why.png").read_bytes()
    broken = [(reason(instance(box=BOXES[0])), images[1], seen_once([]))]
    with pytest.raises(DataError, match="got none of its label"):
        draw(tmp_path / "why.png", broken)
    with pytest.raises(DataError, match="at least one chosen image"):
        draw(tmp_path / "why.png", [])
    with pytest.raises(DataError, match=r"of \(120, 120\) \(height, width\) px, got \(9, 9\)"):
        draw(tmp_path / "why.png", [(reason(), images[1], seen_once([], size=(9, 9)))])
    assert (tmp_path / "why.png").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["why.jpg", "why.png"]


def test_names_are_checked_before_the_work(tmp_path):
    with pytest.raises(DataError, match=r"why\.gif: expected a name that ends in \.png, \.jpg"):
        check_picture_path(tmp_path / "why.gif")
    with pytest.raises(DataError, match="nowhere to exist"):
        check_picture_path(tmp_path / "nowhere" / "why.png")


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six pictures, a COCO file, an untrained model and the pool that it scored."""
    made = tmp_path_factory.mktemp("why")
    pairs = [picture(seed) for seed in range(6)]
    for row, (image, _) in enumerate(pairs):
        PillowImage.fromarray(image).save(made / f"{row}.png")
    images = [(7 + row, f"{row}.png", (64, 64)) for row in range(6)]
    save_coco(made / "coco.json", LABELS, images, [target for _, target in pairs])
    save_checkpoint(made / "model", detector(seed=2), card={})
    save_checkpoint(made / "other", detector(seed=3), card={})
    done = invoke("score", made / "model", made / "coco.json", made, made / "pool.safetensors")
    assert done.exit_code == 0, done.output
    return made


def invoke(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def command(folder, *options, model="model", budget=3, out="why.png"):
    return invoke(
        "why", folder / model, folder / "coco.json", folder, folder / "pool.safetensors", budget,
        "--out", folder / out, *options,
    )  # fmt: skip


def test_the_command_draws_what_select_chooses(folder):
    done = command(folder, "--labelled", folder / "pool.safetensors", "--uncertainty", "ce")
    assert done.exit_code == 0, (done.output, done.exception)
    assert "drawing" in done.stderr and len(done.stdout.splitlines()) == 1
    said = json.loads(done.stdout)
    assert said["picture"] == str(folder / "why.png") and said["strategy"] == "taudis"
    chosen = json.loads(
        invoke("select", folder / "pool.safetensors", 3, "--uncertainty", "ce").stdout
    )
    assert [int(text.split(",")[0].removeprefix("Image ")) for text in said["why"]] == (
        chosen["order"][:3]
    )
    for text, number in zip(said["why"], chosen["order"], strict=False):
        assert "the square at" in text or "the bar at" in text or "after the cover" in text
        assert f"most like it is {number} (cosine 1.000)" in text
    assert np.ptp(imread(folder / "why.png")[..., :3], axis=2).max() > 0.5
    fewer = json.loads(command(folder, "--top", 2, "--strategy", "wse", out="w.jpg").stdout)
    assert len(fewer["why"]) == 2 and fewer["strategy"] == "wse"


def test_the_second_run_finds_every_instance_again(folder):
    pool = load_pool(folder / "pool.safetensors")
    reasons = why(pool, asked(pool, budget=6), top=6)
    images = [picture(one.image_id - 7)[0] for one in reasons]
    count = 0
    for one, _, found in look_again(reasons, detector(seed=2).fast(), images):
        assert matched(one, found) == [chosen.number for chosen in one.chosen]
        count += len(one.chosen)
    assert count > 6


@pytest.mark.parametrize(
    ("options", "told", "kind", "message"),
    [
        ({"model": "other"}, (), DataError, "Draw with the model"),
        ({"out": "why.txt"}, (), DataError, "expected a name that ends in"),
        ({"budget": 0}, (), DataError, "at least one chosen image"),
        ({}, ("--top", 0), DataError, "at least one chosen image"),
        ({}, ("--sigma", 2), SelectionError, "sigma: expected"),
        ({}, ("--strategy", "best"), SelectionError, "strategy: expected one of"),
    ],
)
def test_the_command_refuses(folder, options, told, kind, message):
    out = options.setdefault("out", "refused.png")
    done = command(folder, *told, **options)
    assert done.exit_code == 1 and isinstance(done.exception, kind) and done.stdout == ""
    assert message in str(done.exception) and not (folder / out).exists()


def test_images_that_the_coco_file_lacks_are_told(folder, tmp_path):
    save_coco(tmp_path / "coco.json", LABELS, [(99, "0.png", (64, 64))], [picture(0)[1]])
    done = invoke(
        "why", folder / "model", tmp_path / "coco.json", folder, folder / "pool.safetensors", 2,
        "--out", tmp_path / "why.png",
    )  # fmt: skip
    assert isinstance(done.exception, DataError) and "got none of id [" in str(done.exception)
