"""The Data Manager's tab on a real Label Studio: in queue order, for as long as it is connected."""

import pytest

from backend.label_studio.tabs import TITLE
from tests.studio.loop import make_pictures, make_project

pytestmark = [pytest.mark.studio, pytest.mark.slow]


def listed(work, tab):
    """Task ids as the tab lists them."""
    params = {"project": work.id, "view": tab}
    return [row["id"] for row in work.loop.studio.api("GET", "/api/tasks", params=params)["tasks"]]


# long: one project; each step needs those before it
def test_the_tab_is_in_queue_order_and_goes_at_disconnect(loop, tmp_path):
    work = make_project(loop, make_pictures(tmp_path, 8, size=64), "Tab")
    tabs = {row["data"]["title"]: row["id"] for row in work.client.tabs.of(work.id)}
    assert list(tabs) == ["Default", TITLE]
    order = work.order(work.version())
    assert listed(work, tabs[TITLE]) == order != sorted(order)
    assert listed(work, tabs["Default"]) == sorted(order)

    # What is labelled leaves it; the first is what Label Studio serves next.
    work.label_next()
    assert listed(work, tabs[TITLE]) == order[1:]
    work.label_some(3)
    left = listed(work, tabs[TITLE])
    assert len(left) == 4 and left == [task for task in order if task in left]

    # It follows another order by itself, and back.
    rows = [
        {"task": task, "result": [], "score": rank / len(order), "model_version": "backwards"}
        for rank, task in enumerate(reversed(order), start=1)
    ]
    work.client.import_predictions(work.id, rows)
    ours = work.version()
    work.client.patch_project(work.id, model_version="backwards")
    assert listed(work, tabs[TITLE]) == left[::-1]
    work.client.patch_project(work.id, model_version=ours)
    assert listed(work, tabs[TITLE]) == left

    loop.cli("disconnect", "--project", str(work.id))
    assert [row["data"]["title"] for row in work.client.tabs.of(work.id)] == ["Default"]
