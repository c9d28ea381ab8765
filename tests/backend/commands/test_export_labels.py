"""What the export of a project's labels says that it leaves out; the masks: tests/studio."""

from __future__ import annotations

import json

from backend.commands.export_labels import export_labels
from backend.worker.context import RoundContext
from tests.backend.local_loop import truth


def test_other_annotations_of_a_task_are_counted_and_images_have_their_addresses(loop, tmp_path):
    project = loop.project(3)
    first, second, _ = project.tasks()
    project.client.create_annotation(first["id"], truth(first))
    project.client.create_annotation(first["id"], truth(first)[:1])
    project.client.create_annotation(second["id"], [], was_cancelled=True)
    context = RoundContext(loop.settings(), loop.store, loop.lease, project.id)
    found = export_labels(context, tmp_path / "out")
    assert (found.images, found.superseded) == (1, 1)
    assert "Annotations not used, their task has a newer one: 1." in found.in_words()
    (image,) = json.loads((tmp_path / "out" / "instances.json").read_text())["images"]
    assert image["id"] == first["id"] and image["address"] == first["data"]["image"]
