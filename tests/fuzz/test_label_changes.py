"""F10: the labels of a project change in mid-project."""

import pytest

from backend.store.serving import stand_ins
from tests.reliability.records import form

CHANGES = {
    "added": lambda xml: xml.replace(
        '<Label value="bar"/>', '<Label value="bar"/><Label value="rod"/>'
    ),
    "renamed": lambda xml: xml.replace('"bar"', '"rod"'),
    "removed": lambda xml: xml.replace('<Label value="bar"/>', ""),
}
LABELS = {
    "added": ["square", "bar", "rod"], "renamed": ["square", "rod"], "removed": ["square"],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.fault("F10", "changed")
@pytest.mark.parametrize("change", CHANGES if form() == "full" else ["renamed"])
def test_a_changed_label_set_trains_a_fresh_head_and_the_old_version_is_servable(
    make_loop, figures, change
):
    loop = make_loop()
    project = loop.project(pictures=10)
    project.label_some(6)
    before = project.give_model()
    assert project.card(before)["labels"] == ["square", "bar"]
    config = CHANGES[change](project.current()["label_config"])
    project.client.patch_project(project.id, label_config=config)
    round_ = project.train()
    assert round_.outcome == "served", round_.message
    model = loop.store.project(project.id).state.model
    assert project.card(model)["labels"] == LABELS[change]
    problems = round_.steps["synced"]["problems"]
    # A label that is gone is named: its regions are painted out, not trained as background.
    assert any("'bar'" in each for each in problems) == (change != "added"), problems
    assert project.version() not in ("", before)
    project.cli("rollback")
    assert project.version() == before  # the old version's predictions are still there
    assert set(project.order(before))
    assert stand_ins(loop.store, loop.store.project(project.id), model)
    figures(changes=1, crashes=0)
