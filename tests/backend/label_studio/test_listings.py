"""Listings against a small server that pages, filters and fails as Label Studio does."""

import json
import logging
import threading
from urllib.parse import parse_qs, urlsplit

import pytest

from backend.errors import StudioRejected, StudioUnreachable
from backend.label_studio import listings, repetition
from backend.label_studio.client import Studio
from backend.label_studio.listings import PAGE, SMALLEST_PAGE, PageSizes
from backend.settings import load_settings
from backend.store.database import Store
from backend.store.lease import Lease
from backend.worker.context import RoundContext
from backend.worker.worker import Worker, _Patience
from tests.backend.label_studio.json_server import LEGACY, JsonServer, send

TOO_DEEP = "Expression tree is too large (maximum depth 1000)"


class Tasks(JsonServer):
    """GET /api/tasks by id, with Label Studio's filters on `id`, and its 500 above a page size.

    Args:
        ids: of the project's tasks.
        most: a page of more tasks than this is a 500.
        before: called with this server before each answer; a status instead of None is answered.
    """

    def __init__(self, ids, most=10**9, before=None):
        self.ids, self.most, self.before = set(ids), most, before
        self.sizes, self.answered = [], []
        self.reason = TOO_DEEP
        super().__init__()

    def respond(self, handler):
        query = {key: row[0] for key, row in parse_qs(urlsplit(handler.path).query).items()}
        status = self.before(self) if self.before else None
        send(handler, *((status, {}) if status else self.answer(query)))

    def answer(self, query):
        filters = json.loads(query["query"])["filters"]["items"]
        last = max((f["value"] for f in filters if f["filter"] == "filter:tasks:id"), default=0)
        found = sorted(task for task in self.ids if task > last)
        size = int(query["page_size"])
        self.sizes.append(size)
        if min(len(found), size) > self.most:
            return 500, {"detail": self.reason}
        page = found[:size]
        self.answered += page if size > 1 else []
        return 200, {"tasks": [{"id": task} for task in page], "total": len(found)}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(repetition, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(repetition, "LONGEST_PAUSE", 0.02)
    monkeypatch.setattr(listings, "PAGE_SECONDS", 1.0)
    monkeypatch.setattr("backend.label_studio.client.PAGE_SECONDS", 1.0)


def client(server, **options):
    return Studio(server.url, LEGACY, timeout=1.0, patience=1.0, **options)


def listed(studio):
    return [task["id"] for task in studio.tasks(1)]


@pytest.mark.slow
def test_no_page_is_above_1000_tasks():
    assert max(PAGE.values()) <= 500
    with Tasks(range(1, 5001)) as server:
        studio = client(server)
        assert listed(studio) == list(range(1, 5001))
        studio.tasks_touched_since(1, "2026-01-01T00:00:00.000000Z")
        studio.tasks_changed_since(1, "2026-01-01T00:00:00.000000Z")
        studio.export_annotated(1)
        assert max(server.sizes) <= 500


@pytest.mark.slow
def test_a_page_that_label_studio_cannot_answer_shrinks_and_loses_nothing(caplog):
    ids = range(7, 3007, 2)
    with Tasks(ids, most=130) as server:
        studio = client(server)
        assert listed(studio) == list(ids)
        # Two attempts at 500, two at 250, and 125 from there on, at the same place.
        assert server.sizes[:5] == [500, 500, 250, 250, 125]
        assert set(server.sizes[4:]) == {125, 1}
        assert server.answered == list(ids)
        server.sizes.clear()
        assert listed(studio) == list(ids)
        assert max(server.sizes) == 125  # remembered
    said = [row.getMessage() for row in caplog.records if row.levelno == logging.WARNING]
    assert len(said) == 2
    assert "a page of 250 tasks" in said[1] and TOO_DEEP in said[1]
    assert studio.pages.notice == (
        "Label Studio could not answer a page of 500 tasks (it answered 500"
        f" {TOO_DEEP}), so 125 are read at a time"
    )


@pytest.mark.slow
def test_shrinking_in_the_middle_goes_on_behind_the_last_task():
    def later(server):
        server.most = 60 if len(server.answered) >= 1000 else 10**9

    with Tasks(range(1, 1801), before=later) as server:
        assert listed(client(server)) == list(range(1, 1801))
        assert server.answered == list(range(1, 1801))
        assert server.sizes[:2] == [500, 500] and 31 in server.sizes


@pytest.mark.slow
def test_pages_with_labels_shrink_by_themselves():
    with Tasks(range(1, 401), most=50) as server:
        studio = client(server)
        assert [task["id"] for task in studio.export_annotated(1)] == list(range(1, 401))
        assert studio.pages.size("labels") == 50 and studio.pages.size("tasks") == 500


def test_sizes_are_shared_between_the_clients_of_one_label_studio(tmp_path):
    settings = load_settings(
        model_dir=tmp_path, label_studio_url="http://127.0.0.1:9", label_studio_api_key=LEGACY
    )
    store = Store(tmp_path)
    contexts = [RoundContext(settings, store, Lease("test", 1), project) for project in (1, 2)]
    assert contexts[0].studio.pages is contexts[1].studio.pages
    other = load_settings(
        model_dir=tmp_path, label_studio_url="http://127.0.0.1:8", label_studio_api_key=LEGACY
    )
    assert (
        RoundContext(other, store, Lease("test", 1), 1).studio.pages is not contexts[0].studio.pages
    )


def test_a_shrunk_page_is_told_in_the_project_until_it_is_forgotten(tmp_path, monkeypatch):
    url = "http://127.0.0.1:7"
    settings = load_settings(model_dir=tmp_path, label_studio_url=url, label_studio_api_key=LEGACY)
    worker = Worker(settings, Store(tmp_path))
    worker.store.update_project(1, title="One")
    sizes = listings.shared_sizes(url)
    sizes.shrink("tasks", 500, "it answered 500")
    with _Patience(worker, "scheduler", 1):
        pass
    assert "250 are read at a time" in worker.store.project(1).state.pages
    monkeypatch.setattr(listings, "FORGET_SECONDS", 0.0)
    assert sizes.size("tasks") == 500  # the full page is tried again
    with _Patience(worker, "scheduler", 1):
        pass
    assert worker.store.project(1).state.pages == ""


def test_two_threads_that_fail_together_halve_once():
    sizes = PageSizes()
    sizes.shrink("tasks", 500, "500")
    sizes.shrink("tasks", 500, "500")
    assert sizes.size("tasks") == 250


@pytest.mark.parametrize("status", [502, 503, 429])
def test_an_outage_does_not_shrink_pages(status):
    troubles = [status, status, status]
    with Tasks(range(1, 700), before=lambda _: troubles.pop() if troubles else None) as server:
        studio = client(server)
        assert listed(studio) == list(range(1, 700))
        assert studio.pages.notice == ""
        assert server.sizes[0] == 500


@pytest.mark.slow
def test_a_lasting_500_is_told_as_what_came_and_is_no_matter_of_size():
    with Tasks(range(1, 700), before=lambda _: 500) as server:
        studio = client(server)
        with pytest.raises(StudioUnreachable, match=rf"{SMALLEST_PAGE} a page.*answered 500"):
            studio.tasks(1)
        assert studio.pages.notice == ""
        assert studio.pages.size("tasks") == 500


@pytest.mark.parametrize(
    "reason",
    [
        "database is locked",
        # what 1.23.2 says instead (core/utils/exceptions.py)
        "Sqlite <a href='https://docs.example/#database-is-locked-errors'>doesn't operate well</a>",
    ],
)
def test_a_busy_database_does_not_shrink_pages(reason):
    def busy(server):
        server.most = 0 if len(server.sizes) < 4 else 10**9

    with Tasks(range(1, 30), before=busy) as server:
        server.reason = reason
        studio = client(server)
        assert listed(studio) == list(range(1, 30))
        assert server.sizes == [500] * 5


def test_a_gateway_that_waits_less_than_the_page_takes_shrinks_it():
    def slow(server):
        return 504 if len(server.sizes) == 0 and next(calls) < 2 else None

    calls = iter(range(100))
    with Tasks(range(1, 300), before=slow) as server:
        assert listed(client(server)) == list(range(1, 300))
        assert server.sizes[0] == 250


@pytest.mark.slow
def test_a_page_that_takes_too_long_is_smaller_at_the_next_look():
    stop = threading.Event()

    def hang(server):
        if not stop.is_set():
            stop.wait(5)
            return 503
        return None

    with Tasks(range(1, 300), before=hang) as server:
        studio = client(server)
        with pytest.raises(StudioUnreachable, match="in time"):
            studio.tasks(1)
        stop.set()
        assert listed(studio) == list(range(1, 300))
        assert max(server.sizes) == 250
        assert "did not answer in time" in studio.pages.notice


def test_tasks_that_come_and_go_between_pages_are_neither_lost_nor_read_twice():
    """Pages by number would skip task 501 when an earlier one is deleted."""

    def changes(server):
        if len(server.sizes) == 1:
            server.ids -= set(range(1, 101))  # deleted behind us
            server.ids |= set(range(2001, 2051))  # imported ahead of us
        if len(server.sizes) == 4:
            server.ids |= set(range(3001, 3021))  # imported behind the last page

    with Tasks(range(1, 1501), before=changes) as server:
        found = listed(client(server))
        assert found == sorted(server.ids)


def test_a_listing_that_is_short_of_the_total_is_read_again():
    """A task whose id is smaller than ids that were there first: two imports that overlap."""

    def late(server):
        if len(server.sizes) == 2:
            server.ids.add(3)

    with Tasks([1, 2, *range(4, 1200)], before=late) as server:
        assert listed(client(server)) == list(range(1, 1200))


def test_a_project_that_never_stands_still_is_listed_all_the_same():
    def grow(server):
        server.ids.add(max(server.ids) + 1)

    with Tasks(range(1, 1001), before=grow) as server:
        found = listed(client(server))
        assert found == list(range(1, found[-1] + 1))
        assert len(server.sizes) < 30


def test_a_server_that_ignores_the_filter_is_refused_instead_of_asked_for_ever():
    class Deaf(Tasks):
        def answer(self, query):
            rows = [{"id": task} for task in range(1, 501)]
            return 200, {"tasks": rows, "total": 900}

    with Deaf([]) as server, pytest.raises(StudioRejected, match="behind id 500"):
        client(server).tasks(1)
