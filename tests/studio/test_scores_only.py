"""With a config that takes no predicted masks the order still works, and the page says so."""

import copy

import pytest
import requests

from tests.studio.loop import PASSWORD, USER, make_pictures, make_project
from tests.studio.test_doctor import failures

pytestmark = [pytest.mark.studio, pytest.mark.slow]

SENTENCE = "No pre-annotations, only scores: Label Studio takes no predictions of a MagicWand"


def drawn_with_the_wand(regions):
    """Brush regions as the editor writes them for a config with MagicWand and Labels."""
    rows = []
    for region in regions:
        shape = {key: region["value"][key] for key in ("format", "rle")}
        common = copy.deepcopy(region) | {"value": shape}
        rows.append(common | {"from_name": "wand", "type": "magicwand"})
        value = shape | {"labels": region["value"]["brushlabels"]}
        rows.append(common | {"from_name": "tag", "type": "labels", "value": value})
    return rows


def test_labels_beside_a_magic_wand_alone_get_an_order_and_a_sentence(loop, tmp_path):
    pictures = make_pictures(tmp_path, 12, size=64)
    labels = "".join(f'<Label value="{name}"/>' for name in pictures[0].names)
    work = make_project(
        loop,
        pictures,
        "Wand",
        xml=f'<View><Image name="image" value="$image"/><MagicWand name="wand" toName="image"/>'
        f'<Labels name="tag" toName="image">{labels}</Labels></View>',
    )
    for task in work.tasks()[:6]:
        regions = drawn_with_the_wand(work.truth.regions(task["data"]))
        work.client.create_annotation(task["id"], regions)
    round_ = work.train()
    assert round_.outcome == "served" and SENTENCE in round_.message
    assert round_.steps["trained"]["left_out"]["kinds"] == {}
    assert round_.steps["trained"]["mean_instances"] > 1

    work.check_whole()  # every unlabelled task has its rank
    assert all(row["result"] == [] for row in work.rows(work.version()))
    assert SENTENCE in requests.get(loop.url, auth=(USER, PASSWORD), timeout=10).text
    found = failures(loop.cli("doctor", "--project", str(work.id), well=False))[work.id]
    assert set(found) == {"labelling config"} and SENTENCE in found["labelling config"][0]
