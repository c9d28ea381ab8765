"""What the export of a project's labels says that it leaves out; the masks: tests/studio."""

from __future__ import annotations

import json

import pytest

from backend.commands.export_labels import _origin, export_labels
from backend.label_studio.new_project import uploaded_name
from backend.worker.context import RoundContext
from taudis.cli.coco_check import open_labelled
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
    file = tmp_path / "out" / "instances.json"
    (image,) = json.loads(file.read_text())["images"]
    assert image["id"] == first["id"] and image["address"] == first["data"]["image"]
    # An image that was not uploaded has no such name; one that has it is read as before.
    assert ("original_file_name" in image) == bool(uploaded_name(image["address"]))
    read = open_labelled(file, tmp_path / "out" / "images", "ask", skip_bad=False)
    assert read.samples.file_names == (image["file_name"],) and read.objects == found.objects


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("/data/upload/7/0123abcd-a-b.png", "a-b.png"),
        ("http://host/labels/data/upload/7/0123abcd-sheep_1.jpg?x=1", "sheep_1.jpg"),
        ("/data/upload/7/0123abcd-%C3%A4.png", "ä.png"),
        ("/data/upload/7/plain.png", ""),  # nothing to remove
        ("/data/local-files/?d=images/0123abcd-a.png", ""),
        ("s3://bucket/0123abcd-a.png", ""),
    ],
)
def test_an_uploaded_image_has_the_name_of_its_file(address, name):
    expected = {"address": address, "original_file_name": name} if name else {"address": address}
    assert _origin(address) == expected
