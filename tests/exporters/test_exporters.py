"""Real exporters write one scene, and the check of COCO files reads it: the table of docs/coco.md.

`make exporters` creates their environment. `python -m tests.exporters.test_exporters` writes the
table again.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from taudis.__main__ import app
from taudis.data.coco.check import Checked, check_coco
from tests.exporters import scene

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-exporters/bin/python"
PAGE = ROOT / "docs/coco.md"
START, END = "<!-- exporters: written by the tests -->\n", "<!-- /exporters -->"

EXPORTERS = {
    "supervision": "supervision {supervision} (roboflow)",
    "datumaro_masks": "datumaro {datumaro}, masks (its default; CVAT)",
    "datumaro_polygons": "datumaro {datumaro}, polygons",
    "label_studio_coco": "label-studio-sdk {label-studio-sdk}, COCO",
    "label_studio_brush": "label-studio-sdk {label-studio-sdk}, BRUSH_TO_COCO",
    "labelme2coco": "labelme2coco {labelme2coco}",
    "labelformat_masks": "labelformat {labelformat}, masks",
    "labelformat_polygons": "labelformat {labelformat}, polygons",
    "sahi": "sahi {sahi}",
    "imantics": "imantics {imantics}",
    "globox": "globox {globox}",
    "pylabel": "pylabel {pylabel}",
    "darwin": "darwin-py {darwin-py} (V7)",
}
PIXELS = {name: int(mask.sum()) for name, mask in scene.masks().items()}


@dataclass(frozen=True)
class Written:
    """One exporter's file of the scene."""

    path: Path
    images: Path

    @property
    def content(self) -> dict[str, Any]:
        return dict(json.loads(self.path.read_text()))


def write(name: str, folder: Path) -> Written:
    """Run a real exporter in its environment."""
    done = subprocess.run(
        [str(PYTHON), str(Path(__file__).with_name("writers.py")), name, str(folder / name)],
        capture_output=True, text=True, timeout=300, cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "OMP_NUM_THREADS": "1",
             "MPLBACKEND": "agg"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    path = Path(done.stdout.splitlines()[-1])
    return Written(path, next((folder / name).rglob(scene.FILE)).parent)


def versions() -> dict[str, str]:
    lines = (ROOT / "requirements-exporters.txt").read_text().splitlines()
    return dict(line.split(" ")[0].split("==") for line in lines if "==" in line.split(" ")[0])


def pixels_of(checked: Checked) -> dict[str, list[tuple[int, float]]]:
    """For each object of the scene, the objects read for it: (pixels, IoU with its mask)."""
    found: dict[str, list[tuple[int, float]]] = {name: [] for name in scene.NAMES}
    if not len(checked.samples):
        return found
    target = checked.samples.target(0)
    truth = scene.masks()
    for mask, crowd in zip(target.masks, target.iscrowd, strict=True):
        if crowd:
            continue
        overlap = {name: int((mask & true).sum()) for name, true in truth.items()}
        best = max(overlap, key=lambda name: overlap[name])
        union = int((mask | truth[best]).sum())
        found[best].append((int(mask.sum()), overlap[best] / union))
    return found


def _first_id(records: list[dict[str, Any]]) -> str:
    return str(records[0].get("id", "none")) if records else "none"


def _form(annotation: dict[str, Any]) -> str:
    value = annotation.get("segmentation")
    crowd = ", crowd" if annotation.get("iscrowd") else ""
    if isinstance(value, dict):
        return f"run lengths{crowd}"
    if not value:
        return f"`{json.dumps(value)}`"
    return f"polygon{'s' if len(value) > 1 else ''}{crowd}"


def _forms(content: dict[str, Any]) -> str:
    """The forms of the segmentations in the order of the file; equal neighbours are counted."""
    forms = [_form(annotation) for annotation in content["annotations"]]
    groups: list[tuple[str, int]] = []
    for form in forms:
        if groups and groups[-1][0] == form:
            groups[-1] = (form, groups[-1][1] + 1)
        else:
            groups.append((form, 1))
    return "; ".join(f"{n} x {form}" if n > 1 else form for form, n in groups)


def _place(content: dict[str, Any]) -> str:
    name = content["images"][0]["file_name"]
    if "/" not in name:
        return "base name"
    return "the server's path" if name.startswith("/data/") else "path of the machine"


def _read(name: str, checked: Checked) -> str:
    found = pixels_of(checked)[name]
    if not found:
        return "-"
    pixels = " + ".join(str(count) for count, _ in found)
    return pixels if len(found) > 1 else f"{pixels} ({found[0][1]:.2f})"


def row(name: str, written: Written) -> str:
    """A line of the table: the exporter's file, and the objects that the check reads from it."""
    asked = check_coco(written.path, written.images)
    said = "asks about crowds" if asked.question else "reads"
    if asked.found.of("bad"):
        said = f"refuses ({', '.join(asked.found.of('bad'))}); with --skip-bad"
    checked = check_coco(written.path, written.images, crowds="objects", skip_bad=True)
    notes = checked.found.of("read", "left out")
    notes = {kind: n for kind, n in notes.items() if kind != "crowds_as_objects"}
    counts = ", ".join(f"{n} {kind}" for kind, n in notes.items())
    content = written.content
    ids = "/".join(_first_id(content[key]) for key in ("images", "annotations", "categories"))
    objects = " | ".join(_read(each, checked) for each in scene.NAMES)
    title = EXPORTERS[name].format(**versions())
    place = f"{ids}; {_place(content)}"
    return f"| {title} | {_forms(content)} | {place} | {said} | {objects} | {counts} |"


def table(files: dict[str, Written]) -> str:
    """The table of docs/coco.md."""
    heads = " | ".join(f"{name}, {count} px" for name, count in PIXELS.items())
    lines = [
        f"| exporter | segmentations | first ids, file name | check | {heads} | reported |",
        "|" + "---|" * (5 + len(PIXELS)),
    ]
    return "\n".join([*lines, *(row(name, files[name]) for name in EXPORTERS)]) + "\n"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Written]:
    folder = tmp_path_factory.mktemp("exporters")
    return {name: write(name, folder) for name in EXPORTERS}


pytestmark = pytest.mark.exporters


def test_the_documented_table_is_what_the_exporters_write_and_we_read(files):
    page = PAGE.read_text(encoding="utf-8")
    assert START + table(files) + END in page, (
        "run `.venv/bin/python -m tests.exporters.test_exporters`, which writes it anew"
    )


# Pixels that are read for each object. Where they differ from the scene, the exporter changed them:
# a contour through pixel centres covers (w - 1)(h - 1) of w x h px, polygons fill holes, V7 adds a
# row and a column.
READ = {
    "supervision": {"a": [361], "b": [800], "c": [200], "d": [35]},
    "datumaro_masks": {"a": [400], "b": [800], "c": [200], "d": [35]},
    "datumaro_polygons": {"a": [361], "b": [936], "c": [162], "d": [35]},
    "label_studio_coco": {"a": [400], "b": [1000], "c": [], "d": [35]},
    "label_studio_brush": {"a": [361], "b": [936], "c": [81, 81], "d": []},
    "labelme2coco": {"a": [400], "b": [1000], "c": [100, 100], "d": []},
    "labelformat_masks": {"a": [400], "b": [800], "c": [200], "d": [35]},
    "labelformat_polygons": {"a": [400], "b": [1000], "c": [200], "d": [35]},
    "sahi": {"a": [361], "b": [936], "c": [162], "d": [35]},
    "imantics": {"a": [361], "b": [936], "c": [162], "d": []},
    "globox": {"a": [400], "b": [1000], "c": [600], "d": [35]},
    "pylabel": {"a": [400], "b": [], "c": [], "d": [35]},
    "darwin": {"a": [400], "b": [895], "c": [242], "d": [35]},
}


@pytest.mark.parametrize("name", EXPORTERS)
def test_every_object_of_an_exporters_file_is_read_or_counted(name, files):
    written = files[name]
    checked = check_coco(written.path, written.images, crowds="objects", skip_bad=True)
    found = pixels_of(checked)
    got = {each: sorted(count for count, _ in rows) for each, rows in found.items()}
    assert got == READ[name]
    counted = sum(checked.found.of("left out", "bad").values())
    assert checked.objects + counted == len(written.content["annotations"])


MASKS_KEPT = ("datumaro_masks", "labelformat_masks")


@pytest.mark.parametrize("name", MASKS_KEPT)
def test_masks_that_are_written_whole_are_read_bit_for_bit(name, files):
    written = files[name]
    target = check_coco(written.path, written.images, crowds="objects").samples.target(0)
    for mask, true in zip(target.masks, scene.masks().values(), strict=True):
        assert np.array_equal(mask, true)


CROWDED = {"supervision": "supervision", "datumaro_masks": "datumaro (CVAT)",
           "labelformat_masks": "labelformat", "darwin": "darwin-py (V7)"}  # fmt: skip


@pytest.mark.parametrize("name", EXPORTERS)
def test_objects_that_are_marked_as_crowds_are_asked_about_by_their_writers_name(name, files):
    asked = check_coco(files[name].path, files[name].images).question
    assert bool(asked) == (name in CROWDED)
    assert f"looks like {CROWDED.get(name, '')}" in asked or not asked


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTERS)
def test_train_takes_every_exporters_file(name, files, tmp_path):
    written = files[name]
    arguments = ["train", written.path, written.images, tmp_path / "model", "--recipe", "cpu",
                 "--steps", "1", "--crowds", "objects", "--skip-bad"]  # fmt: skip
    done = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])["coco"]
    assert said["objects"] == sum(map(len, READ[name].values()))


def _regenerate() -> Iterator[str]:
    folder = ROOT / ".cache/exporters"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    written = table({name: write(name, folder) for name in EXPORTERS})
    page = PAGE.read_text(encoding="utf-8")
    before, after = page.split(START)[0], page.split(END)[1]
    PAGE.write_text(before + START + written + END + after, encoding="utf-8")
    yield written


if __name__ == "__main__":
    sys.stdout.writelines(_regenerate())
