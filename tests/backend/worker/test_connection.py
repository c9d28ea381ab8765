"""What is set up in Label Studio so that the loop runs, and put back as it was."""

import base64

import pytest

from backend.errors import StudioUnreachable
from backend.store.secrets import webhook_password
from backend.worker import connection
from tests.backend.local_loop import PASSWORD, USER

FIELDS = ("sampling", "model_version", "show_collab_predictions")


def seen(project):
    """What the backend touches in a project: its fields, its webhooks."""
    current = project.current()
    return {field: current[field] for field in FIELDS}, project.hooks()


@pytest.fixture
def connected(loop):
    """A connected project, and what it was like before the worker's first turn."""
    project = loop.project(3, connect=False)
    project.before, hooks = seen(project)
    assert hooks == []
    project.connect()
    assert len(project.hooks()) == 1, "Label Studio makes one for the new backend"
    loop.schedule()
    loop.schedule()  # the worker's own looks at the Model page were events, too
    return project


def test_one_webhook_with_our_credentials_and_the_sampling(connected):
    fields, (hook,) = seen(connected)
    assert fields["sampling"] == "Uncertainty sampling"
    assert fields["model_version"].startswith("taudis-")
    assert hook["url"] == f"{connected.loop.url}/webhook?project={connected.id}"
    scheme, pair = hook["headers"]["Authorization"].split()
    user, password = base64.b64decode(pair).decode().split(":")
    assert (scheme, user) == ("Basic", "webhook")
    assert password == webhook_password(connected.loop.data) and PASSWORD not in password
    assert (hook["send_payload"], hook["send_for_all_actions"]) == (False, False)
    assert set(hook["actions"]) == {
        "ANNOTATION_CREATED",
        "ANNOTATIONS_CREATED",
        "ANNOTATION_UPDATED",
        "ANNOTATIONS_DELETED",
        "PROJECT_UPDATED",
    }


def test_setting_up_again_changes_nothing(connected):
    loop = connected.loop
    loop.turn()
    loop.studio.requests.clear()
    connected.cli("connect")
    loop.turn()
    changes = [(m, path) for m, path in loop.studio.requests if m not in ("GET",)]
    assert [each for each in changes if "/api/" in each[1]] == []


@pytest.mark.parametrize(
    "change",
    [{"is_active": False}, {"headers": {}}, {"send_payload": True}, {"actions": ["TASKS_CREATED"]}],
)
def test_a_webhook_that_somebody_changed_is_put_back(connected, change):
    (wanted,) = connected.hooks()
    fields = {name: wanted[name] for name in ("url", "actions")}
    path = f"/api/webhooks/{wanted['id']}/"
    connected.loop.studio.api("PATCH", path, json={**fields, **change})
    assert connected.hooks() != [wanted]
    connected.loop.turn()
    (put_back,) = connected.hooks()
    put_back["actions"] = sorted(put_back["actions"])
    assert put_back == {**wanted, "actions": sorted(wanted["actions"])}


def test_of_two_webhooks_one_stays_and_those_of_others_are_left_alone(connected):
    loop, client = connected.loop, connected.client
    (ours,) = connected.hooks()
    other = client.create_webhook(connected.id, url="http://127.0.0.1:9/webhook")
    client.create_webhook(connected.id, url=f"{loop.url}/webhook")
    loop.turn()
    assert [hook["id"] for hook in connected.hooks()] == [ours["id"], other["id"]]


@pytest.mark.parametrize(
    ("change", "word"),
    [({"sampling": "Sequential sampling"}, "sampling"), ({"model_version": ""}, "serves")],
)
def test_what_a_person_may_have_meant_is_left_alone_and_told(connected, change, word):
    connected.client.patch_project(connected.id, **change)
    connected.loop.turn()
    current = connected.current()
    assert {name: current[name] for name in change} == change
    page = connected.loop.app.test_client().get("/", auth=(USER, PASSWORD)).text
    assert word in page and "Settings &gt; Annotation" in page


def test_a_new_labelling_config_and_title_are_taken_in(connected):
    config = connected.current()["label_config"].replace("bar", "rod")
    connected.client.patch_project(connected.id, label_config=config, title="Another title")
    connected.loop.turn()
    page = connected.loop.app.test_client().get("/", auth=(USER, PASSWORD)).text
    assert "Another title" in page


def test_a_new_labelling_config_leaves_alone_what_a_person_set(connected):
    loop, client = connected.loop, connected.client
    chosen = {"sampling": "Sequential sampling", "show_collab_predictions": False}
    client.patch_project(connected.id, **chosen)
    config = connected.current()["label_config"].replace("bar", "rod")
    client.patch_project(connected.id, label_config=config)
    connected.open_model_page()  # Label Studio calls /setup with the new config
    loop.turn()
    current = connected.current()
    assert {name: current[name] for name in chosen} == chosen
    assert loop.store.project(connected.id).state.label_config == config
    connected.cli("connect")  # somebody wants our order again
    assert connected.current()["sampling"] == "Uncertainty sampling"
    assert connected.current()["show_collab_predictions"] is True


@pytest.mark.parametrize("how", ["the Model page", "disconnect"])
@pytest.mark.parametrize("call", ["DELETE webhook", "PATCH project"])
def test_a_disconnect_that_label_studio_interrupts_goes_on(connected, how, call):
    loop = connected.loop
    (hook,) = connected.hooks()
    paths = {"webhook": f"/api/webhooks/{hook['id']}/", "project": f"/api/projects/{connected.id}/"}
    method, what = call.split()
    loop.studio.fault(method, paths[what], status=401, times=1)
    if how == "disconnect":
        connected.cli("disconnect", well=False)
    else:
        connected.remove_backend()
        loop.turn()
    assert connected.current()["sampling"] == "Uncertainty sampling"
    loop.start_worker()  # one that does not wait after the failure
    loop.turn()
    assert seen(connected) == (connected.before, [])
    state = loop.store.project(connected.id).state
    assert (state.disconnected, state.before, state.armed) == (True, None, None)
    assert ("was removed in Label Studio" in state.message) is (how == "the Model page")
    loop.studio.requests.clear()
    loop.turn()
    assert not [each for each in loop.studio.requests if each[0] in ("PATCH", "DELETE")]


def test_disconnecting_puts_everything_back_and_stays_so(connected):
    loop, client = connected.loop, connected.client
    other = client.create_webhook(connected.id, url="http://127.0.0.1:9/webhook")
    assert "as before" in connected.cli("disconnect")
    for _ in range(2):
        fields, hooks = seen(connected)
        assert fields == connected.before
        assert [hook["id"] for hook in hooks] == [other["id"]], "ours is gone, others stay"
        connected.open_model_page()  # Label Studio calls /health and /setup
        loop.turn()
    assert len(connected.rounds) == 1
    again = connected.cli("disconnect", well=False)
    assert "nothing to restore" in again or "never" in again


@pytest.mark.parametrize("at", ["arm", "repair"])
def test_a_disconnect_while_the_worker_sets_the_project_up_wins(connected, monkeypatch, at):
    """It deletes the webhook just before the worker misses it and makes another one."""
    listed, calls = connection.our_webhooks, []

    def late(context, url):
        if not calls:
            calls.append(1)
            connected.cli("disconnect")
        return listed(context, url)

    if at == "arm":
        connected.cli("connect")
    monkeypatch.setattr(connection, "our_webhooks", late)
    connected.loop.turn()
    assert calls and seen(connected) == (connected.before, [])
    state = connected.loop.store.project(connected.id).state
    assert state.disconnected and not state.armed and not state.before
    connected.loop.turn()
    assert seen(connected) == (connected.before, [])


@pytest.mark.parametrize("at", ["arm", "repair"])
def test_a_disconnect_wins_also_where_the_worker_fails_after_it(connected, monkeypatch, at):
    """Label Studio answers nothing more once the worker has made the webhook anew."""
    listed, made, calls = connection.our_webhooks, connection._one_webhook, []

    def late(context, url):
        if not calls:
            calls.append(1)
            connected.cli("disconnect")
        return listed(context, url)

    def failing(*given):
        hook = made(*given)
        if len(calls) == 1:
            calls.append(2)
            monkeypatch.setattr(connection, "changes_by_person", stop)
            monkeypatch.setattr(connection, "_serve_again", stop)
        return hook

    def stop(*_):
        monkeypatch.undo()
        raise StudioUnreachable("down")

    if at == "arm":
        connected.cli("connect")
    monkeypatch.setattr(connection, "our_webhooks", late)
    monkeypatch.setattr(connection, "_one_webhook", failing)
    connected.loop.turn()
    connected.loop.start_worker()  # one that does not wait after the failure
    for _ in range(2):
        connected.loop.turn()
    assert len(calls) == 2 and seen(connected) == (connected.before, [])
    state = connected.loop.store.project(connected.id).state
    assert state.disconnected and not state.armed and not state.before


def test_a_version_that_served_before_comes_back_unless_it_is_gone(loop):
    for gone in (False, True):
        project = loop.project(2, connect=False, title="Had a model before")
        rows = [
            {"task": task["id"], "result": [], "score": 0.5, "model_version": "theirs"}
            for task in project.tasks()
        ]
        project.client.import_predictions(project.id, rows)
        project.client.patch_project(
            project.id, model_version="theirs", sampling="Uniform sampling"
        )
        project.connect()
        loop.schedule()
        if gone:
            project.client.delete_version(project.id, "theirs")
        project.cli("disconnect")
        assert project.version() == ("" if gone else "theirs")
        assert project.current()["sampling"] == "Uniform sampling"


def test_connecting_again_serves_the_newest_order_again(connected):
    loop, version = connected.loop, connected.version()
    connected.cli("disconnect")
    assert connected.version() == ""
    connected.cli("connect")
    loop.turn()
    assert connected.version() == version
    assert len(connected.rounds) == 1
    assert connected.current()["sampling"] == "Uncertainty sampling"


@pytest.mark.slow
def test_an_order_whose_rows_are_gone_is_made_anew(connected):
    loop, version = connected.loop, connected.version()
    connected.cli("disconnect")
    connected.client.delete_version(connected.id, version)
    connected.cli("connect")
    loop.turn()
    loop.turn()
    assert connected.version() not in ("", version)
    assert len(connected.order()) == 3


@pytest.mark.slow
def test_a_backend_that_was_removed_is_disconnected_and_added_again_connected(connected):
    loop = connected.loop
    version = connected.version()
    connected.remove_backend()
    loop.turn()
    fields, hooks = seen(connected)
    assert fields == connected.before
    assert hooks == [], "Label Studio keeps the webhook of a backend that it removes; we do not"
    page = loop.app.test_client().get("/", auth=(USER, PASSWORD)).text
    assert "was removed in Label Studio" in page
    connected.connect()
    loop.turn()
    assert connected.version() == version
    page = loop.app.test_client().get("/", auth=(USER, PASSWORD)).text
    assert "was removed in Label Studio" not in page


def test_a_backend_that_is_replaced_between_two_polls_was_never_removed(connected):
    loop, version = connected.loop, connected.version()
    connected.remove_backend()
    connected.connect(title="Another title")
    loop.turn()
    assert connected.version() == version
    assert connected.current()["sampling"] == "Uncertainty sampling"
    loop.turn()
    assert connected.version() == version


def test_a_config_that_cannot_be_used_is_told_and_nothing_is_set_up(loop):
    config = '<View><Text name="t" value="$t"/><Choices name="c" toName="t">'
    project = loop.project(0, connect=False)
    config += '<Choice value="a"/></Choices></View>'
    project.client.patch_project(project.id, label_config=config)
    project.connect()
    loop.turn()
    page = loop.app.test_client().get("/", auth=(USER, PASSWORD)).text
    assert "Image" in page
    assert project.current()["sampling"] == "Sequential sampling"
    assert project.rounds == []
