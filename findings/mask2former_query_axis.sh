#!/usr/bin/env bash
# Expected: the states of the queries after each layer of Mask2Former's decoder have the axes that transformers
#   documents, [batch, queries, width], as its last state has.
# Happens: in one and the same output, transformer_decoder_last_hidden_state is [batch, queries, width] and each of
#   transformer_decoder_hidden_states is [queries, batch, width]. With as many images as queries no shape differs,
#   and each image gets the states of others.
# Version and source: transformers 5.24.0 with torch 2.15.0; documentation of Mask2FormerModelOutput.
# The product: exchanges the axes where the states of the queries are the embeddings of objects, EMBEDDING=query
#   (taudis/detector/mask2former_detector.py; a test recomputes the classes).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check torch==2.15.0 numpy==2.4.6 transformers==5.24.0
HF_HUB_OFFLINE=1 venv/bin/python - <<'PYTHON'
import sys
from importlib.metadata import version

import torch
from transformers import Mask2FormerConfig, Mask2FormerModel, SwinConfig

torch.manual_seed(0)
body = SwinConfig(
    image_size=64, embed_dim=12, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=2,
    out_features=["stage1", "stage2", "stage3", "stage4"],
)
config = Mask2FormerConfig(
    backbone_config=body, hidden_size=32, feature_size=32, mask_feature_size=32, encoder_layers=1,
    decoder_layers=3, num_attention_heads=4, dim_feedforward=32, encoder_feedforward_dim=32,
    num_queries=7,
)
model = Mask2FormerModel(config).eval()
with torch.inference_mode():
    states = model(torch.rand(2, 3, 64, 64), output_hidden_states=True)
    last = states.transformer_decoder_last_hidden_state
    layers = states.transformer_decoder_hidden_states
    exchanged = torch.allclose(layers[-1].transpose(0, 1), last, atol=1e-5)
print("transformers", version("transformers"), "torch", version("torch"))
print("2 images, 7 queries, width 32: last state", tuple(last.shape))
print("states after each layer", [tuple(layer.shape) for layer in layers])
print("the last of these, with the axes exchanged, is the last state:", exchanged)
shapes = {tuple(layer.shape) for layer in layers}
if tuple(last.shape) != (2, 7, 32) or shapes != {(7, 2, 32)} or not exchanged:
    sys.exit("Changed: expected [queries, batch, width] after each layer, and the last state otherwise.")
PYTHON
