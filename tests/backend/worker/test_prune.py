"""Which versions go, here and in Label Studio, and which never do."""

import time

import pytest

from backend.worker import prune
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


@pytest.mark.slow
def test_the_newest_versions_stay_and_the_others_go_little_by_little(project):
    first = project.version()
    second, third, fourth = orders(project, 3)
    assert stored(project) == [third, fourth]
    assert project.versions() == {first: 1, second: 2, third: 3, fourth: 4}
    project.loop.clean()
    assert project.versions() == {second: 2, third: 3, fourth: 4}
    assert project.loop.studio.asked("DELETE", f"/api/projects/{project.id}/model-versions/") == 0
    for _ in range(3):
        project.loop.clean()
    assert project.versions() == {third: 3, fourth: 4}
    assert project.version() == fourth


@pytest.mark.slow
def test_when_nobody_has_labelled_for_a_while_a_version_goes_in_one_call(project, monkeypatch):
    first = project.version()
    orders(project, 2)
    path = f"/api/projects/{project.id}/model-versions/"
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 890)
    project.loop.clean()
    assert first not in project.versions()
    assert project.loop.studio.asked("DELETE", path) == 0
    (fourth,) = orders(project, 1)
    monkeypatch.setattr(time, "time", lambda: now + 890 + 910)
    project.loop.clean()
    assert project.loop.studio.asked("DELETE", path) == 1
    assert project.version() == fourth


def test_a_label_that_waits_for_the_end_of_a_round_says_that_somebody_is_there(loop, monkeypatch):
    """Labels are counted between rounds alone, and a round may take longer than the pause."""
    project = loop.project(1)
    loop.turn()
    context = RoundContext(loop.settings(), loop.store, loop.lease, project.id)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + prune.QUIET_SECONDS + 10)
    assert prune._quiet(context)
    loop.store.record_event(project.id, "changed")
    assert not prune._quiet(context)


@pytest.mark.slow
def test_a_pinned_version_stays_however_old_it_is(project):
    first = project.version()
    (second,) = orders(project, 1)
    project.cli("rollback")
    third, fourth, fifth = orders(project, 3)
    assert project.version() == first
    assert stored(project) == [first, fourth, fifth]
    for _ in range(3):
        project.loop.clean()
    assert set(project.versions()) == {first, fourth, fifth}
    assert {second, third}.isdisjoint(project.versions())


@pytest.mark.slow
def test_what_a_rollback_would_serve_stays(make_loop):
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
    client.import_predictions(project.id, [{**row, "model_version": "taudis-9999-left"}])
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
def test_the_cleaner_pauses_for_a_project_that_label_studio_refuses(project):
    first = project.version()
    orders(project, 2)
    path = f"/api/projects/{project.id}/model-versions/"
    project.loop.studio.fault("GET", path, status=403)
    project.loop.clean()
    assert first in project.versions()
    page = project.loop.app.test_client().get("/", auth=(USER, PASSWORD)).text
    assert "(403)" not in page  # deleting is no matter that people must look at
    project.loop.start_worker()
    project.loop.clean()
    assert first not in project.versions()
