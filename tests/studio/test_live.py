"""The live evaluation and blank tasks on a real Label Studio."""

import pytest
import requests

from backend.store.blank import is_blank
from tests.studio.loop import PASSWORD, USER, Loop, make_pictures, make_project

pytestmark = [pytest.mark.studio, pytest.mark.slow]

SHARE = 0.5


@pytest.fixture
def work(studio, tmp_path):
    """A project with a model. Half of its tasks are blank."""
    loop = Loop(studio, tmp_path / "backend", BLANK_SHARE=str(SHARE), SCORE_THRESHOLD="0.0")
    try:
        loop.start_web()
        loop.start_worker()
        made = make_project(loop, make_pictures(tmp_path / "pictures", 16, size=64), "Live")
        made.label_some(4)
        made.train()
        yield made
    finally:
        loop.close()


def predicted(work):
    """The predictions of the served version by task: all, blank ones, and those with regions."""
    rows = {row["task"]: row for row in work.rows(work.version())}
    blank = [task for task in rows if is_blank(task, SHARE, 0)]
    assert blank and not any(rows[task]["result"] for task in blank)
    return rows, blank, [task for task in rows if rows[task]["result"]]


def submit(work, row, regions):
    """Submit as the editor does, which begins with a prediction."""
    fields = {"parent_prediction": row["id"], "lead_time": 7.5}
    return work.client.create_annotation(row["task"], regions, **fields)["id"]


def live(work):
    """The page's JSON, and the rows by annotation."""
    url = f"{work.loop.url}/live?project={work.id}"
    found = requests.get(url, auth=(USER, PASSWORD), timeout=30).json()["projects"][str(work.id)]
    return found, {row.annotation: row for row in work.loop.store.live_rows(work.id)}


def number(row, field):
    return sum(counts.get(field, 0) for counts in row.counts.values())


# long: one project; each step needs the versions and annotations of those before it
def test_annotations_are_compared_with_what_label_studio_gave(work):
    version = work.version()
    rows, blank, given = predicted(work)
    kept, converted = (rows[task] for task in given[:2])
    assert kept["result"][0]["meta"]["text"][0].startswith("Why this image: ")
    first = submit(work, kept, kept["result"])
    withheld = submit(work, rows[blank[0]], [])
    work.loop.studio.api(
        "POST",
        f"/api/dm/actions?id=predictions_to_annotations&project={work.id}",
        json={
            "selectedItems": {"all": False, "included": [converted["task"]]},
            "model_version": version,
        },
    )
    work.train()
    found, stored = live(work)
    assert found["kinds"] == {"visible": 1, "blank": 1, "no_model": 4, "converted": 1}
    assert (stored[first].kind, stored[first].version) == ("visible", version)
    assert (stored[first].lead_time, stored[withheld].lead_time) == (7.5, 7.5)
    assert number(stored[first], "unchanged") == found["total"]["regions"] > 0
    assert stored[withheld].counts and number(stored[withheld], "removed") > 0

    # The same tasks are blank in the next version, and have their ranks.
    _, later, _ = predicted(work)
    assert set(later) == set(blank) - {blank[0]}
    work.check_whole()

    # Label Studio forgets the version, and somebody edits an annotation.
    work.client.delete_version(work.id, version)
    path = f"/api/annotations/{first}/"
    assert work.loop.studio.api("GET", path)["parent_prediction"] is None
    work.loop.studio.api("PATCH", path, json={"result": []})
    work.train()
    found, edited = live(work)
    assert number(edited[first], "removed") == number(stored[first], "unchanged")
    assert edited[withheld] == stored[withheld] and not edited[first].outdated
    page = requests.get(work.loop.url, auth=(USER, PASSWORD), timeout=30).text
    assert "without pre-annotations (BLANK_SHARE)" in page and "blank tasks" in page
