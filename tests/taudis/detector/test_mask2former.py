"""Mask2Former: p, m and r against what transformers itself gives; weights, refusals, no network."""

from __future__ import annotations

import dataclasses
import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from taudis.detector import mask2former as model_file
from taudis.detector import mask2former_detector as detector_file
from taudis.detector.checkpoint import check_start, load_checkpoint, save_checkpoint
from taudis.detector.export import export_torchvision
from taudis.detector.mask2former import build_model, config_of_folder, library
from taudis.detector.mask2former_detector import background_first
from taudis.detector.mask_rcnn import to_tensor
from taudis.detector.onnx_export import export_onnx
from taudis.detector.pasting import pasted_masks
from taudis.detector.registry import read_config
from taudis.errors import CheckpointError, DataError, ExportError, PackageError, WeightsError
from taudis.types import Detection, Instances, LabelMap
from tests.taudis.detector_cases import LABELS, TINY, TINY_QUERIES, detector, mask2former, picture

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]
IMAGE = picture(3, 40, 56)[0]


@pytest.fixture(scope="module")
def ours():
    made = mask2former(seed=1)
    norm = made.model.network.model.transformer_module.decoder.layernorm
    torch.nn.init.uniform_(norm.weight, 0.5, 1.5)  # a new one changes nothing
    return made


@torch.inference_mode()
def official(one, image=IMAGE):
    """What transformers' own forward gives for an image."""
    pixels = one.model.eval().batch([to_tensor(image)])
    return one.model.network(pixels, output_hidden_states=True)


def kept_queries(one, found):
    """Queries by score: labels 1..K at the threshold or above, as [n] query rows."""
    probs = found.class_queries_logits[0].softmax(-1)
    best = probs[:, :-1].max(1).values
    order = torch.argsort(best, descending=True, stable=True)
    return [int(q) for q in order if best[q] > one.config.score_threshold], probs


def test_p_m_and_boxes_are_those_of_transformers(ours):
    """Oracle: class_queries_logits and masks_queries_logits of transformers' whole forward."""
    image = picture(3, 64, 96)[0]  # px that 32 divides, so that there is no padding
    found = official(ours, image)
    queries, probs = kept_queries(ours, found)
    dense = functional.interpolate(found.masks_queries_logits, size=(64, 96), mode="bilinear")[0]
    rows = ours.detect([image])[0].instances

    with_mask = [q for q in queries if bool((dense[q] > 0).any())]
    assert len(rows) == len(with_mask) > 3
    for row, query in enumerate(with_mask):
        p = probs[query].numpy()
        assert np.allclose(rows.class_probs[row], [p[-1], *p[:-1]], atol=1e-5)
        assert rows.labels[row] == p[:-1].argmax() + 1
        y, x = np.nonzero(dense[query].numpy() > 0)
        wanted = [x.min(), y.min(), x.max() + 1, y.max() + 1]
        assert rows.boxes[row].tolist() == wanted


def test_a_mask_is_cut_to_its_box_and_pasted_back():
    """Two discs and an empty mask, as logits of cells: the boxes hold them, the masks show them."""
    y, x = np.mgrid[:20, :24] * 4 + 1.5  # centres of the cells, px of an image of 77 x 93
    discs = [30 - np.hypot(y - cy, x - cx) * 30 / r for cy, cx, r in ((30, 40, 24), (60, 70, 9))]
    features = torch.tensor(np.stack(discs), dtype=torch.float32)
    kernels = torch.tensor([[1.0, 0], [0, 1], [-1e-9, -1e-9], [0, 1e-3]])
    kernels[2] = 0
    seen = detector_file._Seen(torch.zeros(4, 3), kernels, kernels, features, (77, 93))
    boxes, masks, vectors, filled = seen.regions(torch.tensor([1, 2, 0, 3]), 28)
    assert filled.tolist() == [True, False, True, True]
    assert np.abs(boxes[1].numpy() - [16, 6, 65, 55]).max() <= 1
    assert np.abs(boxes[0].numpy() - [61, 51, 80, 70]).max() <= 1
    assert masks[1, 14, 14] > 0.999 and masks[1, 0, 0] < 0.01
    assert 0.5 < masks[2].max() < 0.51  # the same disc, and unsure
    rows = Instances(
        np.zeros(3, np.int64), boxes.numpy(), np.ones(3, np.float32), np.ones(3, np.int64),
        np.tile(np.float32([0, 1]), (3, 1)), vectors.numpy(), masks.numpy(),
    )  # fmt: skip
    pasted = pasted_masks(Detection(rows, np.zeros(2, np.float32), (77, 93)))
    y, x = np.mgrid[:77, :93]
    for mask, (cy, cx, r) in zip(pasted, ((60, 70, 9), (30, 40, 24)), strict=False):
        truth = np.hypot(y - cy, x - cx) < r
        assert (mask & truth).sum() / (mask | truth).sum() > 0.9


def test_no_object_moves_from_the_last_column_to_the_first():
    probs = torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.4, 0.1]])
    assert background_first(probs).tolist() == probs[:, [2, 0, 1]].tolist()
    assert torch.equal(background_first(probs[None])[0], background_first(probs))


def test_r_is_the_mean_of_the_pixel_decoder_over_the_mask(ours):
    found = official(ours)
    features = found.pixel_decoder_last_hidden_state[0]
    queries, _ = kept_queries(ours, found)
    rows = ours.detect([IMAGE])[0].instances
    logits = found.masks_queries_logits[0][:, :10, :14]  # the cells of 40 x 56 px
    own = features[:, :10, :14]
    queries = [q for q in queries if bool((logits[q] > 0).any())]
    assert len(queries) == len(rows)
    for row, query in enumerate(queries):
        wanted = own[:, logits[query] > 0].mean(1)
        assert np.allclose(rows.embeddings[row], wanted, atol=1e-4)
    whole = ours.detect([IMAGE])[0].image_embedding
    assert np.allclose(whole, own.mean((1, 2)), atol=1e-5)


def test_the_query_state_is_the_one_that_p_is_made_of(ours):
    """transformers documents [batch, queries, width]; its code gives [queries, batch, width]."""
    size, width = TINY_QUERIES.queries, TINY_QUERIES.network["hidden_dim"]
    batch = ours.model.eval().batch([to_tensor(IMAGE)] * 2)
    with torch.inference_mode():
        found = ours.model.network.model(batch, output_hidden_states=True)
        last = found.transformer_decoder_intermediate_states[-1]
        assert tuple(last.shape) == (size, 2, width)
        assert tuple(found.transformer_decoder_last_hidden_state.shape) == (2, size, width)
        logits = ours.model.network(batch).class_queries_logits
        predictor = ours.model.network.class_predictor
        assert torch.allclose(predictor(last.transpose(0, 1)), logits, atol=1e-5)
        raw = found.transformer_decoder_last_hidden_state
        assert not torch.allclose(predictor(raw), logits, atol=1e-2)

        rows = ours.detect([IMAGE], embedding="query")[0].instances
        again = background_first(predictor(torch.from_numpy(rows.embeddings)).softmax(-1))
    assert rows.embeddings.shape[1] == ours.embedding_width("query") == width
    assert np.allclose(again.numpy(), rows.class_probs, atol=1e-5)


def test_dense_masks_are_made_a_few_at_a_time(ours, monkeypatch):
    """However many queries there are, no tensor is larger than the limit or one mask."""
    whole = ours.detect([IMAGE])[0]
    seen, interpolate = [], functional.interpolate

    def counted(*given, **options):
        made = interpolate(*given, **options)
        seen.append(made.numel())
        return made

    limit = 3 * IMAGE.shape[0] * IMAGE.shape[1]
    monkeypatch.setattr(detector_file, "CHUNK_CELLS", limit)
    monkeypatch.setattr(detector_file.functional, "interpolate", counted)
    parts = ours.detect([IMAGE])[0]
    dense = [count for count in seen if count % (IMAGE.shape[0] * IMAGE.shape[1]) == 0]
    assert len(dense) > 2 and max(dense) <= limit
    for name in ("boxes", "class_probs", "mask_probs", "embeddings"):
        assert np.allclose(getattr(whole.instances, name), getattr(parts.instances, name))

    many = mask2former(1, TINY_QUERIES.with_queries(240))
    seen.clear()
    assert len(many.detect([IMAGE])[0].instances) > 50
    dense = [count for count in seen if count % (IMAGE.shape[0] * IMAGE.shape[1]) == 0]
    assert len(dense) > 50 and max(dense) <= limit


def test_the_masks_of_the_layers_are_not_kept(ours, monkeypatch):
    kept = []
    forward = type(ours.model.network.model).forward

    def spied(self, *given, **options):
        found = forward(self, *given, **options)
        kept.append(sum(masks.numel() for masks in found.masks_queries_logits))
        return found

    monkeypatch.setattr(type(ours.model.network.model), "forward", spied)
    ours.detect([IMAGE])
    official(ours)
    assert kept[0] == 0 < kept[1]


def test_the_limit_of_detections_keeps_the_best():
    one = mask2former(1)
    few = mask2former(1, dataclasses.replace(TINY_QUERIES, detections_per_image=2))
    best = one.detect([IMAGE])[0].instances
    assert np.array_equal(few.detect([IMAGE])[0].instances.scores, best.scores[:2])
    assert (np.diff(best.scores) <= 0).all()
    none = mask2former(1, dataclasses.replace(TINY_QUERIES, score_threshold=0.9999))
    assert none.detect([IMAGE])[0].instances.embeddings.shape == (0, 32)
    assert none.detect([]) == []


# --- checkpoints --------------------------------------------------------------------------------


def test_a_checkpoint_gives_the_same_detector(tmp_path, ours):
    save_checkpoint(tmp_path / "v1", ours, card={"seed": 1})
    again, card = load_checkpoint(tmp_path / "v1", label_map=LABELS)
    assert card["model"]["architecture"] == "mask2former" and card["seed"] == 1
    assert again.config == ours.config and again.label_map == LABELS
    one, other = (each.fast().detect([IMAGE])[0].instances for each in (ours, again))
    for name in ("boxes", "class_probs", "mask_probs", "embeddings"):
        assert np.array_equal(getattr(one, name), getattr(other, name))

    assert check_start(tmp_path / "v1", ours.config, LABELS) == ours.config
    wider = dataclasses.replace(ours.config, network={**ours.config.network, "hidden_dim": 96})
    with pytest.raises(CheckpointError, match="another architecture: expected a model of network"):
        check_start(tmp_path / "v1", wider, LABELS)
    with pytest.raises(CheckpointError, match="expected a mask_rcnn, got a mask2former"):
        check_start(tmp_path / "v1", TINY, LABELS)
    with pytest.raises(CheckpointError, match="expected a model for the labels"):
        load_checkpoint(tmp_path / "v1", label_map=LabelMap(("bar", "square")))
    with pytest.raises(ExportError, match="expected a Mask R-CNN, got a mask2former"):
        export_torchvision(tmp_path / "v1", tmp_path)
    with pytest.raises(ExportError, match="ONNX: expected a Mask R-CNN, got a mask2former"):
        export_onnx(again, tmp_path / "model.onnx", [IMAGE])


def test_a_card_of_an_unknown_architecture_is_refused():
    with pytest.raises(DataError, match=r"architecture: expected one of .*mask_rcnn.*, got 'yolo'"):
        read_config({"architecture": "yolo"})
    with pytest.raises(DataError, match="written by another version"):
        read_config({"architecture": "mask2former", "anchors": 3})
    assert read_config(json.loads(json.dumps(dataclasses.asdict(TINY)))) == TINY


def test_without_the_package_the_message_says_what_to_install(monkeypatch, tmp_path, ours):
    save_checkpoint(tmp_path / "v1", ours, card={})
    found = importlib.import_module

    def missing(name, *rest):
        if name == "transformers":
            raise ImportError("No module named 'transformers'")
        return found(name, *rest)

    monkeypatch.setattr(model_file.importlib, "import_module", missing)
    library.cache_clear()
    try:
        with pytest.raises(PackageError, match=r"pip install 'taudis-label-studio\[mask2former\]'"):
            build_model(TINY_QUERIES, 2, seed=0)
        with pytest.raises(CheckpointError, match="needs the package transformers"):
            load_checkpoint(tmp_path / "v1")
    finally:
        library.cache_clear()


# --- weights ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder that save_pretrained wrote, of a model for three labels."""
    made = tmp_path_factory.mktemp("weights")
    build_model(TINY_QUERIES, 3, seed=5).network.save_pretrained(made)
    return made


def test_weights_of_a_local_folder_fill_all_but_the_class_predictor(folder):
    config = config_of_folder(folder)
    assert config.queries == TINY_QUERIES.queries and config.backbone == "swin"
    assert json.loads(json.dumps(config.network)) == config.network
    one = build_model(config, 2, seed=1, weights=str(folder)).state_dict()
    same = build_model(config, 2, seed=1, weights=str(folder)).state_dict()
    other = build_model(config, 2, seed=2, weights=str(folder)).state_dict()
    given = build_model(TINY_QUERIES, 3, seed=5).state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)
    fresh = {name for name in one if not torch.equal(one[name], other[name])}
    assert fresh == {"network.class_predictor.weight"}
    assert one["network.class_predictor.weight"].shape[0] == 3  # two labels and no object
    shared = [name for name in one if not name.startswith(model_file.LABEL_DEPENDENT)]
    assert len(shared) > 100 and all(torch.equal(one[name], given[name]) for name in shared)


def test_weights_of_our_own_checkpoint_do_the_same(tmp_path):
    save_checkpoint(tmp_path / "v1", mask2former(5), card={})
    made = build_model(TINY_QUERIES, 4, seed=1, weights=str(tmp_path / "v1")).state_dict()
    given = mask2former(5).model.state_dict()
    shared = [name for name in made if not name.startswith(model_file.LABEL_DEPENDENT)]
    assert all(torch.equal(made[name], given[name]) for name in shared)
    assert made["network.class_predictor.weight"].shape[0] == 5


def test_tables_that_older_versions_of_transformers_wrote_are_no_error(tmp_path, folder):
    shutil.copytree(folder, older := tmp_path / "older")
    state = load_file(older / "model.safetensors")
    tables = [name for name in state if name.endswith("relative_position_bias_table")]
    added = {name.replace("_bias_table", "_index"): torch.zeros(4, 4) for name in tables}
    save_file(state | added, older / "model.safetensors", {"format": "pt"})
    one, same = (build_model(config_of_folder(each), 2, seed=1, weights=str(each)).state_dict()
                 for each in (older, folder))  # fmt: skip
    assert added and all(torch.equal(one[name], same[name]) for name in same)


def test_weights_that_do_not_fit_are_refused_by_name(tmp_path, folder):
    for weights in ("imagenet", "coco"):
        with pytest.raises(WeightsError, match=f"'{weights}' are for Mask R-CNN.*Set the weights"):
            build_model(TINY_QUERIES, 2, seed=0, weights=weights)
    with pytest.raises(WeightsError, match=r"expected a folder with config\.json"):
        build_model(TINY_QUERIES, 2, seed=0, weights=str(tmp_path))
    deeper = {**TINY_QUERIES.network, "encoder_layers": 2}
    with pytest.raises(WeightsError, match="expected the tensors of this mask2former"):
        build_model(
            dataclasses.replace(TINY_QUERIES, network=deeper), 2, seed=0, weights=str(folder)
        )
    save_checkpoint(tmp_path / "v1", detector(), card={})
    with pytest.raises(WeightsError, match="expected the tensors of this mask2former"):
        build_model(TINY_QUERIES, 2, seed=0, weights=str(tmp_path / "v1"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model_type": "swin"}')
    with pytest.raises(WeightsError, match="expected a mask2former, got a swin"):
        config_of_folder(tmp_path / "other")


def test_nothing_asks_the_network(folder):
    """In a process without sockets: import, random weights, a folder's weights, a missing folder.

    Until a model is built, transformers is not even imported.
    """
    code = f"""
import socket, sys
def refuse(*given, **_):
    raise SystemExit(f"the network was asked: {{given}}")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
import taudis.training.train, backend.worker.train
assert "transformers" not in sys.modules
from taudis.detector.mask2former import build_model, config_of_folder
from tests.taudis.detector_cases import TINY_QUERIES
from taudis.errors import WeightsError
build_model(TINY_QUERIES, 2, seed=0)
config = config_of_folder({str(folder)!r})
build_model(config, 2, seed=0, weights={str(folder)!r})
from pathlib import Path
try:
    config_of_folder(Path("facebook/mask2former-swin-tiny-coco-instance"))
except WeightsError:
    import huggingface_hub
    assert huggingface_hub.constants.is_offline_mode()
    print("well")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.strip() == "well", done.stdout + done.stderr[-2000:]
