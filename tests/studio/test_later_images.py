"""The loop goes on after later imports and deleted tasks, with personal tokens, and in parts."""

import pytest

from demo.studio import ADMIN, LabelStudio
from tests.studio.conftest import EXECUTABLE, TEMPLATE
from tests.studio.loop import Loop, make_pictures, make_project
from tests.studio.processes import wait_for

pytestmark = [pytest.mark.studio, pytest.mark.slow]

FIRST = 12  # pictures imported at the start


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return make_pictures(tmp_path_factory.mktemp("pictures"), FIRST + 4, size=64)


@pytest.fixture(scope="module")
def work(loop, pictures):
    """A project with rectangle labels and a first model."""
    made = make_project(loop, pictures, "Later", control="rectangle", part=FIRST)
    made.label_some(5)
    made.train()
    return made


def upload(work, pictures, rows):
    """Import more pictures; returns the new tasks."""
    _, samples = pictures
    known = {task["id"] for task in work.tasks()}
    names = [samples.file_names[row] for row in rows]
    work.loop.studio.upload(work.id, [samples.images_dir / name for name in names])
    return [task for task in work.tasks() if task["id"] not in known]


def test_rectangles_are_pre_annotated_as_rectangles(work):
    rows = work.rows(work.check_whole())
    assert {region["type"] for row in rows for region in row["result"]} == {"rectanglelabels"}
    served = work.client.next_task(work.id)
    assert served["predictions"]
    work.label(served)


def test_a_task_predicted_on_the_spot_stands_behind_the_known(work, pictures):
    version, order = work.version(), work.order(work.version())
    with work.loop.frozen_worker():
        new = upload(work, pictures, range(FIRST, FIRST + 1))[0]
        # Somebody opens it in the Data Manager: Label Studio asks /predict.
        work.loop.studio.api("GET", f"/api/tasks/{new['id']}/", params={"project": work.id})

        def predicted():
            rows = work.client.predictions_of(new["id"])
            return [row for row in rows if row["model_version"] == version]

        row = wait_for(predicted, "the prediction on the spot")[0]
        assert row["score"] == pytest.approx(1 + 1 / len(order))
        assert {region["type"] for region in row["result"]} == {"rectanglelabels"}
        assert work.order(version) == [*order, new["id"]]
        work.label_next()  # the first of the known, not the newcomer


def test_images_imported_later_join_the_order_without_training(work, pictures):
    wait_for(lambda: work.rounds()[0].kind == "refresh", "a refresh round")
    number = work.wait_for_round(work.rounds()[0].number).number
    new = {task["id"] for task in upload(work, pictures, range(FIRST + 1, FIRST + 3))}
    round_ = work.wait_for_round(number + 1)
    assert round_.kind == "refresh"
    assert "trained" not in round_.steps
    version = work.check_whole()
    assert version == round_.steps["published"]["version"]
    assert new <= set(work.order(version))
    assert all(row["result"] for row in work.rows(version) if row["task"] in new)
    work.label_next()


def test_tasks_deleted_under_way_do_not_fail_the_round(work):
    number = work.rounds()[0].number + 1
    work.start_training()

    def pool_is_read():
        newest = work.rounds()[0]
        return newest.number == number and "synced" in newest.steps

    wait_for(pool_is_read, "the pool to be read", pause=0.02)
    gone = work.order(work.version())[-1]
    work.loop.studio.api("DELETE", f"/api/tasks/{gone}/")
    assert "published" not in work.rounds()[0].steps
    round_ = work.wait_for_round(number)
    assert round_.outcome == "served"
    assert round_.steps["published"]["tasks"] == round_.steps["synced"]["pool"] - 1
    assert gone not in work.order(work.check_whole())
    work.label_next()


def check_parts(work):
    """Wait until the pool is scored, one image a round; check each order that is kept still."""

    def rounds():
        found = [row for row in reversed(work.rounds()) if "scored" in row.steps]
        done = found and found[-1].ended and not found[-1].steps["scored"]["rest"]
        return found if done else None

    parts = wait_for(rounds, "the last part")
    assert [part.kind for part in parts] == ["train", *["refresh"] * (len(parts) - 1)]
    assert all(part.outcome == "served" for part in parts)
    pool = parts[0].steps["synced"]["pool"]
    counts = [(part.steps["scored"]["images"], part.steps["scored"]["rest"]) for part in parts]
    assert counts == [(number, pool - number) for number in range(1, pool + 1)]
    assert f"2 of {pool} images are scored (1 of them by the same model" in parts[1].message
    before, last = (part.steps["published"]["version"] for part in parts[-2:])
    assert work.version() == work.check_whole() == last
    assert sorted(work.order(before)) == sorted(work.order(last))  # whole, though not scored yet
    left = [row for row in work.rows(before) if row["score"] == 1.0]
    assert [row["result"] for row in left] == [[]]


def test_rounds_in_parts_with_a_personal_access_token(pictures, tmp_path):
    """With legacy tokens off, as in a fresh Label Studio, /setup sends no token.

    The time for scoring is up after the first image of each round.
    """
    with LabelStudio(
        EXECUTABLE, template=TEMPLATE, legacy_tokens=False, log=tmp_path / "studio.log"
    ) as studio:
        studio.allow_legacy_tokens(False)
        token = studio.personal_token(ADMIN)
        settings = {"LABEL_STUDIO_API_KEY": token, "SCORE_SECONDS": "0.000001", "POLL_SECONDS": "1"}
        loop = Loop(studio, tmp_path / "data", **settings)
        try:
            loop.start_web()
            loop.start_worker()
            work = make_project(loop, pictures, "Personal", token=token, part=8)
            work.label_some(4)
            assert work.train().outcome == "served"
            check_parts(work)
            work.label_next()
            kept = [path.name for path in (tmp_path / "data" / "secrets").iterdir()]
            assert kept == ["webhook.password"]  # and no token of Label Studio
            for log in ("web.log", "worker.log"):
                assert token not in (tmp_path / "data" / log).read_text()
        finally:
            loop.close()
