#!/usr/bin/env bash
# Expected: if people can draw a labelled mask with a tool, a prediction can hold such a mask.
# Happens: with Labels beside Brush, a brush region with a label is a valid prediction. With Labels
#   beside MagicWand alone it is not; only a region without a label is. With BrushLabels beside
#   MagicWand it is. The answer is False without a reason.
# Version and source: label-studio-sdk 2.1.2, LabelInterface.validate_prediction, which Label Studio
#   1.23.2 asks when predictions are imported.
# The product: writes the region type that the config takes. If it takes none, it writes scores alone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check label-studio-sdk==2.1.2
venv/bin/python - <<'PYTHON'
import sys
from importlib.metadata import version

from label_studio_sdk.label_interface import LabelInterface

CONFIGS = {
    "Labels, Brush": ("Labels", "Brush"),
    "Labels, MagicWand": ("Labels", "MagicWand"),
    "BrushLabels, MagicWand": ("BrushLabels", "MagicWand"),
}


def valid(labels, tool, writer, kind, value):
    interface = LabelInterface(
        f'<View><Image name="image" value="$image"/><{labels} name="labels" toName="image">'
        f'<Label value="thing"/></{labels}><{tool} name="tool" toName="image"/></View>'
    )
    region = {
        "id": "a", "from_name": writer, "to_name": "image", "type": kind,
        "original_width": 100, "original_height": 80,
        "value": {"format": "rle", "rle": [0, 0]} | value,
    }
    return bool(interface.validate_prediction({"model_version": "m", "result": [region]}))


print("label-studio-sdk", version("label-studio-sdk"), "a labelled mask, one without a label")
seen = {}
for name, tags in CONFIGS.items():
    labelled = [
        valid(*tags, "labels", kind, {kind: ["thing"]}) for kind in ("brushlabels", "labels")
    ]
    plain = valid(*tags, "tool", tags[1].lower(), {})
    seen[name] = (any(labelled), plain)
    print(f"{name}: {seen[name]}")
expected = dict(zip(CONFIGS, ((True, True), (False, True), (True, True)), strict=True))
if seen != expected:
    sys.exit(f"Changed: expected {expected}.")
PYTHON
