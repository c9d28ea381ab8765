"""The status page: every state, hostile text, the overview, its parts and assets."""

import re

import pytest
import sqlalchemy as sa

from backend.store.live import LiveRow
from backend.web.status.now import running_round
from benchmarks.status_page import fill
from tests.backend.web.status_cases import HOSTILE, Filled

STATES = {
    "cold": ["No model yet", "label to train the first model", "the first order is random",
             "the first training starts from weights imagenet"],
    "working": ["Working", "training 120 of 400, about 2 min left", "Round 10", "reading labels"],
    "ready": ["Ready", "waits for labels", "mAP50 from 0.137 with 16 labelled images to 0.536"],
    "failed": ["Failed", "Out of memory. Give the worker more", "Training to try again at once"],
    "left_out": ["Needs a look", "Labelled tasks left out: 2", "Task 5: Region r1: the RLE is cut",
                 "is pinned by a rollback", "Whether the order pays",
                 "in changed tasks, if left so: regions without a label: 1",
                 "Task 31: Region r4: it has no label; choose one."],
}  # fmt: skip
SECTIONS = ["Now", "In short", "How good the models are", "What the order covers",
            "What people did with the pre-annotations", "Versions", "Rounds"]  # fmt: skip


@pytest.fixture
def filled(store, settings):
    return Filled(store, settings)


@pytest.mark.parametrize("state", STATES)
def test_every_state_says_what_it_is(client, filled, state):
    getattr(filled, state)()
    page = client.get("/").text
    for expected in STATES[state]:
        assert expected in page, expected
    if state != "cold":
        assert [name for name in SECTIONS if f">{name}</h2>" not in page] == []
    assert client.get("/projects/7").status_code == 200
    parts = client.get("/projects/7/parts").text
    assert STATES[state][0] in parts and 'id="live-now"' in parts


def test_a_disconnected_project_starts_nothing_and_says_how_to_connect(client, filled, store):
    filled.ready()
    assert "Start Training</button>" in client.get("/projects/7").text
    store.update_project(7, disconnected=True)
    page = client.get("/projects/7").text
    assert "Start Training</button>" not in page
    assert "Disconnected" in page and "python -m backend connect" in page


def test_images_that_are_denser_than_the_model_are_told_until_the_next_training(client, filled):
    filled.ready()
    assert "than the model has queries" not in client.get("/projects/7").text
    dense = {"images": 3, "densest": 250, "queries": 100}
    filled.training(7, 160, 0.6, beyond_queries=dense)
    page = client.get("/projects/7").text
    says = "more objects than the model has queries: 3 of those that round 10 trained on"
    assert says in page and "finds at most 100 in an image" in page and ">Left out</h2>" in page
    filled.training(7, 170, 0.6, beyond_queries={})
    assert "than the model has queries" not in client.get("/projects/7").text


def test_text_from_outside_is_escaped_everywhere(client, filled):
    filled.hostile()
    filled.project(8, HOSTILE, message=HOSTILE)
    for path in ("/", "/parts", "/projects/7", "/projects/7/parts", "/projects/7?before=5"):
        page = client.get(path).text
        assert "alert(1)" in page and "<script>alert" not in page
        assert HOSTILE not in page


def test_the_overview_puts_first_what_needs_a_look(client, filled):
    filled.many()
    page = client.get("/").text
    order = [int(n) for n in re.findall(r'<h2><a href="/projects/(\d+)"', page)]
    assert len(order) == 24 and order[:2] == [9, 1] and order[-1] == 10
    assert "24 projects: 1 to look at, 4 at work, 2 starting, 16 ready, 1 off" in page
    assert "Label Studio does not answer at studio.example" in page
    assert "All 24 projects" in client.get("/projects/3").text


def test_the_parts_hold_no_more_than_what_changes(client, filled):
    filled.working()
    page, parts = client.get("/projects/7").text, client.get("/projects/7/parts").text
    for name in ("live-ready", "live-alerts", "live-now"):
        assert parts.count(f'id="{name}"') == page.count(f'id="{name}"') == 1
    stamp = re.search(r'data-stamp="([^"]*)"', parts)[1]
    assert f'data-stamp="{stamp}"' in page
    filled.store.end_round(filled.lease, filled.store.rounds(7, 1)[0].id, "served", "")
    assert f'data-stamp="{stamp}"' not in client.get("/projects/7/parts").text


def test_earlier_rounds_are_read_page_by_page(client, filled):
    fill(filled.store, 1, 61)
    page = client.get("/projects/1").text
    seen, number = [], re.compile(r'data-name="Round">(\d+)<')
    while True:
        seen += [int(n) for n in number.findall(page)]
        more = re.search(r"\?before=(\d+)#", page)
        if not more:
            break
        page = client.get(f"/projects/1?before={more[1]}").text
    assert seen == list(range(61, 0, -1))
    assert page.count("<rect") == 61


def test_unknown_pages(client, filled):
    filled.ready(7, 1)
    for path in ("/projects/8", "/projects/0", f"/projects/{2**70}", "/assets/x", "/projects/7/x"):
        assert client.get(path).status_code in (400, 404, 405), path
    for path in ("/projects/7?before=x", "/projects/7?before=-5", "/projects/7?done=<b>"):
        assert client.get(path).status_code == 200


def test_assets_may_be_kept_and_pages_may_not(client, filled):
    for name, kind in (("page.css", "text/css"), ("page.js", "text/javascript")):
        answer = client.get(f"/assets/{name}")
        assert answer.mimetype == kind and "max-age" in answer.headers["Cache-Control"]
        assert "private" in answer.headers["Cache-Control"]
    answer = client.get("/")
    assert answer.headers["Cache-Control"] == "no-store"
    policy = answer.headers["Content-Security-Policy"]
    assert "unsafe" not in policy and "form-action 'self'" in policy
    assert " style=" not in answer.text and " onclick" not in answer.text


LIMIT = 200_000  # bytes of a page without its images


def test_a_page_is_small_however_much_there_is_to_say(client, filled):
    fill(filled.store, 2, 200)
    project = client.get("/projects/1")
    assert project.text.count("<rect") == 200 and len(project.data) < LIMIT


def test_the_overview_of_50_projects_is_small_and_takes_no_query_a_project(client, filled):
    asked = []
    sa.event.listen(filled.store._engine, "before_cursor_execute", lambda *a: asked.append(a[2]))
    fill(filled.store, 3, 2)
    for projects in (3, 50):
        asked.clear()
        page = client.get("/")
        assert page.text.count("<li ") == projects and len(page.data) < LIMIT / 2
        queries = len(asked)
        if projects == 3:
            few = queries
            for number in range(4, 51):
                filled.store.update_project(number, title=f"Project {number}", changed=number)
    assert queries == few < 30


def test_before_a_round_has_ended_nothing_is_told_of_rounds_and_of_labels_that_nobody_counted(
    client, filled, store
):
    filled.project(7)
    page = client.get("/").text
    assert "the worker has not counted the labels yet; 16 changed tasks start a round" in page
    assert "none yet: the first training starts from weights imagenet<" in page
    round_ = store.open_round(filled.lease, 7, "train", "20 labelled tasks changed", [])
    page = client.get("/").text
    assert "weights imagenet and makes the first order" in page
    assert "the first order is random" not in page
    assert ">Rounds</h2>" not in page and "Half of them took" not in page
    store.end_round(filled.lease, round_.id, "failed", "no memory")
    assert "Half of them took" in client.get("/").text


@pytest.mark.parametrize(("share", "listed"), [(0.0, False), (0.25, True)])
def test_the_comparison_of_the_arms_is_a_step_only_with_a_control_arm(filled, share, listed):
    filled.working()
    (open_,) = filled.store.open_rounds()
    steps = [step.name for step in running_round(open_, arms=bool(share)).steps]
    assert ("comparing the queue's arms" in steps) == listed and "tidying up" in steps


def test_what_people_did_is_a_sentence_before_the_first_pre_annotation(client, filled, store):
    filled.cold()
    rows = [LiveRow(1, 1, "2026-12-01T00:00:00Z", "no_model")]
    store.keep_live_rows(filled.lease, 7, rows)
    page = client.get("/").text
    assert "Nobody has submitted a task with a pre-annotation yet." in page
    assert "Shares of regions" not in page
