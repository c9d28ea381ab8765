"""Images that a node does not see, and blocks that are done again since images were unreadable."""

from __future__ import annotations

import dataclasses
import os

import pytest

from taudis.data import coco
from taudis.distributed.blocks import blocks_of
from taudis.distributed.score_parts import Scorer, score_parts
from taudis.errors import DataError
from tests.taudis.distributed.ray_cases import make_set, work_in
from tests.taudis.distributed.stand_in import StandIn


@pytest.fixture
def scene(tmp_path):
    """Four pictures, and work that has begun."""
    samples, model = make_set(tmp_path, 4)
    work = work_in(tmp_path, model)
    work.folder.join({})
    return samples, work


@pytest.mark.parametrize("fault", ["missing", "the disk gives an error"])
def test_a_file_that_a_node_does_not_see_names_the_node_and_the_folder(scene, tmp_path, fault):
    samples, work = scene
    samples.paths[2].unlink()
    if fault != "missing":
        path = tmp_path / "torn.png"
        path.symlink_to("/proc/self/mem")  # a file whose first bytes give EIO
        paths = [path if row == 2 else each for row, each in enumerate(samples.paths)]
        samples = dataclasses.replace(samples, paths=tuple(paths))
    scorer, block = Scorer(work), blocks_of(4, 4)[0]
    scorer.prepare()
    with pytest.raises(DataError, match=f"node {os.uname().nodename} cannot.* {tmp_path}\\."):
        scorer.score(block, samples)
    assert work.folder.record(block) is None


def test_blocks_with_unreadable_images_are_done_again(tmp_path):
    samples, model = make_set(tmp_path, 9)
    whole = samples.paths[5].read_bytes()
    samples.paths[5].write_bytes(whole[:60])
    run = StandIn().cluster(), work_in(tmp_path, model), samples
    found = score_parts(*run, size=4)
    assert (found.made, list(found.manifest.unreadable)) == (9, [samples.image_ids[5]])
    samples.paths[5].write_bytes(whole)
    found = score_parts(*run, size=4)
    assert (found.made, found.manifest.unreadable, found.manifest.images) == (4, {}, 9)
    assert score_parts(*run, size=4).made == 0


def test_an_image_that_only_a_node_cannot_decode_ends_the_run(tmp_path, monkeypatch):
    """It was left out, so that the pool depended on the node that got it."""
    samples, model = make_set(tmp_path, 4)
    on_node, score, read = [], Scorer.score, coco.read_image

    def scored(self, block, rows):
        on_node.append(block)
        try:
            return score(self, block, rows)
        finally:
            on_node.pop()

    def read_image(path):
        if on_node and path == samples.paths[1]:
            raise DataError("no decoder for this format.")
        return read(path)

    monkeypatch.setattr(Scorer, "score", scored)
    monkeypatch.setattr(coco, "read_image", read_image)
    message = f"node {os.uname().nodename}: no decoder .* can decode image {samples.image_ids[1]}"
    with pytest.raises(DataError, match=message):
        score_parts(StandIn().cluster(), work_in(tmp_path, model), samples, size=4)
