"""Which versions go, here and in Label Studio, and which never do."""

import shutil
import time

import pytest

from backend.errors import StudioRejected
from backend.worker import open_rows, prune, worker
from backend.worker.context import RoundContext
from tests.backend.local_loop import PASSWORD, USER


def orders(project, number):
    """So many further orders, each for a task that was imported just now; their versions."""
    made = []
    for _ in range(number):
        project.import_pictures(1)
        project.loop.turn()
        made.append(project.rounds[0].steps["published"]["version"])
    return made


def stored(project):
    """Versions whose predictions are on disk."""
    folder = project.loop.data / "predictions" / str(project.id)
    return sorted(path.name.partition(".")[0] for path in folder.glob("taudis-*.sqlite3"))


@pytest.fixture
def project(make_loop):
    """A project with its first order, and a backend that keeps two versions."""
    return make_loop(KEEP_VERSIONS="2").project(1)


@pytest.fixture
def later(monkeypatch):
    """Lets time pass for the backend: call it with the seconds since the test began."""
    began = time.time()

    def let(seconds):
        monkeypatch.setattr(time, "time", lambda: began + seconds)

    return let


def context_of(project):
    return RoundContext(project.loop.settings(), project.loop.store, project.loop.lease, project.id)


def people_label(project):
    """Somebody has labelled just now, so that rows go a few at a time."""
    project.loop.store.record_event(project.id, "changed")


AFTER = open_rows.LOCK_SECONDS + 60  # no editor can be open on what was served before


@pytest.mark.slow
def test_the_newest_versions_stay_and_the_others_go_little_by_little(project, later):
    first = project.version()
    second, third, fourth = orders(project, 3)
    assert stored(project) == [third, fourth]
    assert project.versions() == {first: 1, second: 2, third: 3, fourth: 4}
    later(AFTER)
    people_label(project)
    project.loop.clean()
    assert project.versions() == {second: 2, third: 3, fourth: 4}
    assert project.loop.studio.asked("DELETE", f"/api/projects/{project.id}/model-versions/") == 0
    for _ in range(3):
        project.loop.clean()
    assert project.versions() == {third: 3, fourth: 4}
    assert project.version() == fourth


@pytest.mark.slow
def test_when_nobody_has_labelled_for_a_while_a_version_goes_in_one_call(project, later):
    first = project.version()
    orders(project, 2)
    path = f"/api/projects/{project.id}/model-versions/"
    later(AFTER)
    people_label(project)
    project.loop.clean()
    assert first not in project.versions()
    assert project.loop.studio.asked("DELETE", path) == 0
    (fourth,) = orders(project, 1)
    later(2 * AFTER)
    project.loop.clean()
    assert project.loop.studio.asked("DELETE", path) == 1
    assert project.version() == fourth


# --- what an annotator may have open --------------------------------------------------------------


def opened(project):
    """The task that an annotator is served, and the prediction that the editor begins with."""
    task = project.client.next_task(project.id)
    rows = project.client.predictions_of(task["id"])
    return task, next(row["id"] for row in rows if row["model_version"] == project.version())


@pytest.mark.slow
@pytest.mark.parametrize("skipped", [False, True])
def test_an_annotator_can_submit_what_was_served_many_orders_ago(project, later, skipped):
    """Label Studio refuses an annotation whose `parent_prediction` is gone."""
    orders(project, 1)
    task, begun = opened(project)
    orders(project, 4)
    later(open_rows.LOCK_SECONDS - 60)
    for _ in range(6):
        project.loop.clean()
    made = project.label(task, parent_prediction=begun, was_cancelled=skipped)
    assert made["parent_prediction"] == begun
    later(2 * AFTER)
    for _ in range(6):
        project.loop.clean()
    assert len(project.versions()) == 2  # nothing piles up
    with pytest.raises(StudioRejected, match="object does not exist"):
        project.label(task, parent_prediction=begun)


@pytest.mark.slow
def test_after_an_hour_only_what_the_queue_may_have_served_stays(project, later, monkeypatch):
    monkeypatch.setattr(open_rows, "first_ranks", lambda _: 1)
    _, old, _, _ = orders(project, 4)
    served = project.order(old)[0]
    later(open_rows.OPEN_SECONDS - 60)
    for _ in range(3):
        project.loop.clean()
    assert project.versions()[old] == 3
    later(open_rows.OPEN_SECONDS + 60)
    for _ in range(3):
        project.loop.clean()
    assert set(project.rows(old)) == {served}
    path = f"/api/projects/{project.id}/model-versions/"
    assert project.loop.studio.asked("DELETE", path) == 0  # it would take the first rank, too
    project.loop.studio.requests.clear()
    assert prune.delete_some_in_studio(context_of(project)) == 0
    assert project.loop.studio.asked("GET", "/api/tasks") == 0  # rows that stay are not listed
    later(AFTER)
    for _ in range(4):
        project.loop.clean()
    assert len(project.versions()) == 2


@pytest.mark.slow
def test_a_version_that_a_person_let_serve_again_is_open_from_then_on(project, later):
    first = project.version()
    orders(project, 2)
    current = project.version()
    later(AFTER)
    project.client.patch_project(project.id, model_version=first)
    project.loop.clean()
    project.client.patch_project(project.id, model_version=current)
    later(AFTER + open_rows.LOCK_SECONDS - 60)
    project.loop.clean()
    assert first in project.versions()
    later(2 * AFTER)
    project.loop.clean()
    assert first not in project.versions()


@pytest.mark.slow
def test_orders_of_an_earlier_installation_stay_for_a_day(make_loop, later):
    project = make_loop().project(1, connect=False)
    row = {"task": project.tasks()[0]["id"], "result": [], "score": 1.0}
    before = "taudis-0007-1000"
    project.client.import_predictions(project.id, [{**row, "model_version": before}])
    project.client.patch_project(project.id, model_version=before)
    project.connect()
    orders(project, 1)
    assert project.version() not in ("", before)
    project.loop.clean()
    assert before in project.versions()
    later(AFTER)
    project.loop.clean()
    assert before not in project.versions()


def test_a_label_that_waits_for_the_end_of_a_round_says_that_somebody_is_there(loop, monkeypatch):
    """Labels are counted between rounds alone, and a round may take longer than the pause."""
    project = loop.project(1)
    loop.turn()
    context = context_of(project)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + prune.QUIET_SECONDS + 10)
    assert prune._quiet(context)
    loop.store.record_event(project.id, "changed")
    assert not prune._quiet(context)


@pytest.mark.slow
def test_a_pinned_version_stays_however_old_it_is(project, later):
    first = project.version()
    (second,) = orders(project, 1)
    project.cli("rollback")
    third, fourth, fifth = orders(project, 3)
    assert project.version() == first
    assert stored(project) == [first, fourth, fifth]
    later(AFTER)
    for _ in range(3):
        project.loop.clean()
    assert set(project.versions()) == {first, fourth, fifth}
    assert {second, third}.isdisjoint(project.versions())


@pytest.mark.slow
def test_what_a_rollback_would_serve_stays(make_loop, later):
    """The order before the served one, where newer ones were held back."""
    project = make_loop(KEEP_VERSIONS="2").project(1)
    first = project.version()
    (second,) = orders(project, 1)
    project.cli("rollback")
    third, fourth = orders(project, 2)
    assert stored(project) == [first, third, fourth]
    project.cli("unpin")
    assert project.version() == fourth
    project.cli("rollback", third)  # the order before it is the first one
    (fifth, sixth) = orders(project, 2)
    assert stored(project) == [first, third, fifth, sixth]
    later(AFTER)
    for _ in range(3):
        project.loop.clean()
    assert set(project.versions()) == {first, third, fifth, sixth}
    assert first in project.cli("rollback")
    assert project.version() == first and second not in project.versions()


@pytest.mark.slow
def test_rows_of_others_and_of_the_open_round_are_left_alone(project):
    first = project.version()
    row = {"task": project.tasks()[0]["id"], "result": [], "score": 0.1}
    client = project.client
    client.import_predictions(project.id, [{**row, "model_version": "theirs"}])
    left = f"taudis-9999-{int(time.time()):x}-2"  # by a publish of this installation
    client.import_predictions(project.id, [{**row, "model_version": left}])
    project.import_pictures(1)
    path = f"/api/projects/{project.id}/import/predictions"
    project.loop.studio.fault("POST", path, cut=True)
    project.loop.turn()
    (round_,) = project.loop.store.open_rounds()
    posted = [name for name in project.versions() if name.startswith(f"taudis-{round_.number:04d}")]
    assert len(posted) == 1
    for _ in range(4):
        project.loop.clean()
    assert project.versions() == {first: 1, "theirs": 1, posted[0]: 2}


@pytest.mark.slow
def test_models_go_with_the_orders_that_they_made(project):
    """A promoted model and the one that serves stay; a stranger's folder goes."""
    served = project.give_model()
    stray = project.add_model("taudis-0000-stray")
    promoted = project.add_model("taudis-0000-best")
    project.cli("promote", promoted)
    project.loop.turn()
    folder = project.loop.data / "models" / str(project.id)
    assert project.rounds[0].steps["scored"]["model"] == promoted
    assert sorted(path.name for path in folder.iterdir()) == [promoted, served]
    assert stray not in project.cli("versions")


@pytest.mark.slow
def test_prune_by_hand_says_what_would_go_first(make_loop):
    """KEEP_VERSIONS is smaller now than when the rounds ran."""
    project = make_loop(KEEP_VERSIONS="5").project(1)
    first = project.version()
    second, third = orders(project, 2)
    assert stored(project) == [first, second, third]
    said = project.cli("prune", "--dry-run", KEEP_VERSIONS="2")
    assert first in said and second not in said
    assert stored(project) == [first, second, third]
    project.cli("prune", KEEP_VERSIONS="2")
    assert stored(project) == [second, third]
    assert first not in project.cli("versions")


@pytest.mark.slow
def test_the_cleaner_pauses_for_a_project_that_label_studio_refuses(project, later):
    first = project.version()
    orders(project, 2)
    later(AFTER)
    path = f"/api/projects/{project.id}/model-versions/"
    project.loop.studio.fault("GET", path, status=403)
    project.loop.clean()
    assert first in project.versions()
    page = project.loop.app.test_client().get("/", auth=(USER, PASSWORD)).text
    assert "The worker cannot delete old predictions" in page and "(403)" in page
    project.loop.store.renew(project.loop.lease)  # as the heartbeat does
    ready = project.loop.app.test_client().get("/ready", auth=(USER, PASSWORD))
    assert ready.status_code == 200  # rounds go on
    project.loop.start_worker()
    project.loop.clean()
    assert first not in project.versions()
    page = project.loop.app.test_client().get("/", auth=(USER, PASSWORD)).text
    assert "The worker cannot" not in page


@pytest.mark.slow
def test_one_job_of_the_cleaner_does_not_stop_the_others(project, later, monkeypatch):
    first = project.version()
    orders(project, 2)
    later(AFTER)
    folder = project.loop.data / "queue"
    shutil.rmtree(folder, ignore_errors=True)
    project.loop.studio.fault("GET", f"/api/projects/{project.id}/model-versions/", status=403)
    project.loop.clean()
    assert list(folder.rglob("*"))  # the next images are drawn
    assert first in project.versions()
    project.loop.clean()
    assert first in project.versions()  # deletions pause
    shutil.rmtree(folder)
    project.loop.start_worker()
    monkeypatch.setitem(worker.CLEANER_JOBS, "draw the next images", 0)  # raises TypeError
    project.loop.clean()
    assert first not in project.versions()
    page = project.loop.app.test_client().get("/", auth=(USER, PASSWORD)).text
    assert "The worker cannot draw the next images" in page and "Unexpected TypeError" in page


@pytest.mark.slow
def test_a_version_that_lost_its_place_in_the_future_lost_it_now(project):
    """The clock ran ahead when it was pruned, and is right again."""
    _, old, _, _ = orders(project, 4)
    context = context_of(project)
    with pytest.MonkeyPatch.context() as ahead:
        now = time.time()
        ahead.setattr("time.time", lambda: now + 10 * open_rows.LOCK_SECONDS)
        context.store.prune_version(context.lease, project.id, old)
    prune.delete_some_in_studio(context)
    rows = context.store.versions(project.id, pruned=True)
    assert max(row.pruned or 0.0 for row in rows) <= time.time()
