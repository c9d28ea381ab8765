"""Runs a schedule of events on a Label Studio and a backend, and records its history.

The worker runs by turns in this thread, so a schedule decides all that happens, and happens again
the same way. Inside a turn, events happen at the worker's points (see `points`).
"""

import contextlib
import json
import time
from dataclasses import dataclass

import requests

from backend.errors import LeaseLost
from backend.label_studio.client import Studio
from backend.store.rounds import Rounds
from backend.worker import round as rounds
from demo.history import History
from tests.backend.local_loop import PASSWORD, USER, truth
from tests.fake_label_studio import callbacks
from tests.faults.points import Killed, Points
from tests.faults.recorder import Recorder

PEOPLE = ("ann", "ben")


@dataclass(frozen=True)
class Event:
    """One event. `number` chooses among what there is; `inside`: (point, event) of a turn."""

    name: str
    number: int = 0
    inside: tuple = ()

    def __str__(self):
        inside = ", ".join(f"({point}, {event})" for point, event in self.inside)
        return f'Event("{self.name}", {self.number}' + (f", ({inside},))" if inside else ")")


class Jumps:
    """The clock of this process and of a Label Studio, which jump together."""

    def __init__(self, studio, monkeypatch):
        self.studio, self.ahead, self.count = studio, 0.0, 0
        self.passed = 0.0
        real, monotonic = time.time, time.monotonic
        monkeypatch.setattr(time, "time", lambda: real() + self.ahead)
        monkeypatch.setattr(time, "monotonic", lambda: monotonic() + self.passed)

    def jump(self, seconds):
        self.ahead += seconds
        self.count += 1
        self.studio.records.now.jump(seconds)

    def wait(self, seconds):
        """Time passes, on the clocks that jump and on the monotonic one."""
        self.ahead += seconds
        self.passed += seconds
        self.studio.records.now.jump(seconds)


class Driver:
    """A project with two annotators, and the worker that serves it.

    Args:
        loop: a `LocalLoop`.
        monkeypatch: of the test.
        tasks: number of pictures at the start.
        model: whether the project begins with a model, so that rounds score its images.
        drawn: whether people draw what is in a picture; without it, trainings fail for lack of it.
    """

    def __init__(self, loop, monkeypatch, *, tasks=8, model=False, drawn=False):
        self.drawn = drawn
        self.loop, self.webhooks, self.held = loop, "delivered", []
        self.clock = Jumps(loop.studio, monkeypatch)
        self.project = loop.project(tasks, connect=False)
        logins = {name: loop.studio.create_user(f"{name}@faults.example") for name in PEOPLE}
        names = {f"Token {login.token}": name for name, login in logins.items()}
        self.people = [Studio(loop.studio.url, logins[name].token) for name in PEOPLE]
        self.recorder = Recorder(self.project.id, names)
        loop.studio.observers.append(self.recorder)
        loop.studio.records.observers.append(self.recorder.webhook)
        self.records = self.recorder.records
        self.points = Points(monkeypatch)
        self.turns = self.kills = self.takeovers = self.failures = 0
        self._read = {}  # lease token -> when its last sync began and ended
        self._record_snapshots(monkeypatch)
        self._control_webhooks(monkeypatch)
        self._know_tasks()
        self.project.connect()
        loop.schedule()
        if model:
            self.project.give_model()
        self.records.served.clear()

    # --- what is recorded of the backend -------------------------------------------------------

    def _record_snapshots(self, monkeypatch):
        """Know when a round read its labels: the sync whose row was written counts."""
        real, finish = rounds.STEP_FUNCTIONS["synced"], Rounds.finish_step
        self.reads = {}

        def sync(context, round_, report):
            began = time.monotonic()
            result = real(context, round_, report)
            self._read[context.lease.token] = (began, time.monotonic())
            return result

        def finished(store, lease, round_id, step, result):
            round_ = finish(store, lease, round_id, step, result)
            if step == "synced":
                self.reads[round_.number] = self._read[lease.token]
            return round_

        monkeypatch.setattr(rounds, "STEP_FUNCTIONS", {**rounds.STEP_FUNCTIONS, "synced": sync})
        monkeypatch.setattr(Rounds, "finish_step", finished)

    def history(self):
        """The history so far, with the snapshots that are on the disk now."""
        self.records.snapshots.clear()
        for number, (began, ended) in self.reads.items():
            folder = self.loop.data / "rounds" / str(self.project.id) / f"{number:04d}"
            if (folder / "snapshot.json").exists():  # else old, and deleted
                entries = json.loads((folder / "snapshot.json").read_text())["entries"]
                self.recorder.snapshot(number, began, ended, entries)
        self.records.events.update(self.loop.store.event_counts(self.project.id))
        return History(self.records)

    def last_labels(self):
        """The entries of the newest snapshot."""
        return self.history().records.snapshots[-1].entries

    # --- webhooks -----------------------------------------------------------------------------

    def _control_webhooks(self, monkeypatch):
        """Deliver, lose, double, or hold back what Label Studio says to the backend."""
        real = callbacks.tell

        def tell(*call):
            if self.webhooks == "held":
                self.held.append(call)
            elif self.webhooks == "lost":
                self._lose(*call)
            else:
                for _ in range(2 if self.webhooks == "doubled" else 1):
                    real(*call)

        def release():
            self.webhooks = "delivered"
            while self.held:
                real(*self.held.pop())  # the last one first

        self._release = release
        monkeypatch.setattr(callbacks, "tell", tell)

    def _lose(self, _records, project, action, payload):
        """Record a webhook that never arrives."""
        now = time.monotonic()
        self.recorder.webhook(callbacks.Delivery(project.id, action, payload, now, now, 0))

    # --- events -------------------------------------------------------------------------------

    def run(self, events):
        """Let all events happen, then let the backend come to rest; the history."""
        for event in events:
            self.happen(event)
        self.settle()
        return self.history()

    def happen(self, event):
        """One event."""
        getattr(self, f"_{event.name}")(event)

    def _label(self, event, **fields):
        person = self.people[event.number % len(self.people)]
        task = person.next_task(self.project.id)
        if task is not None:
            person.create_annotation(task["id"], truth(task) if self.drawn else [], **fields)

    def _mark(self, event, **fields):
        """Somebody opens an unlabelled task by its id, and submits."""
        open_ = [task["id"] for task in self.project.tasks() if not task["is_labeled"]]
        if open_:
            task = open_[event.number % len(open_)]
            self.people[event.number % len(self.people)].create_annotation(task, [], **fields)

    def _unmark(self, event):
        self._mark(event, was_cancelled=True)

    def _skip(self, event):
        self._label(event, was_cancelled=True)

    def _ask(self, event):
        self.people[event.number % len(self.people)].next_task(self.project.id)

    def _chosen(self, event):
        """A submitted annotation that is still there, or None."""
        gone = {each.annotation for each in self.records.deleted}
        there = [
            act for act in self.records.done
            if not act.skipped and act.annotation not in gone
            and act.task not in self.records.gone
        ]  # fmt: skip
        return there[event.number % len(there)] if there else None

    def _edit(self, event):
        if act := self._chosen(event):
            body = {"result": []}
            self.loop.studio.api("PATCH", f"/api/annotations/{act.annotation}/", json=body)

    def _delete(self, event):
        if act := self._chosen(event):
            self.loop.studio.api("DELETE", f"/api/annotations/{act.annotation}/")

    def _again(self, event):
        """Somebody opens a labelled task and submits another annotation."""
        if act := self._chosen(event):
            self.people[event.number % len(self.people)].create_annotation(act.task, [])

    def _drop(self, event):
        """Somebody deletes a task."""
        tasks = self.project.tasks()
        if len(tasks) > 2:
            task = tasks[event.number % len(tasks)]["id"]
            self.loop.studio.api("DELETE", f"/api/tasks/{task}/")

    def _import(self, event):
        self.project.import_pictures(1 + event.number % 2)
        self._know_tasks()

    def _know_tasks(self):
        now = time.monotonic()
        for task in self.project.tasks():
            self.records.imported.setdefault(task["id"], now)

    def _train(self, event):
        self.project.start_training()

    def _lost(self, event):
        self.webhooks = "lost"

    def _doubled(self, event):
        self.webhooks = "doubled"

    def _held(self, event):
        self.webhooks = "held"

    def _delivered(self, event):
        self._release()

    def _stray(self, event):
        """Webhooks of projects that are not here, of another server, and of unknown kinds."""
        ours, unknown = self.project.id, 1000 + event.number
        for query, body in (
            (f"?project={unknown}", {"action": "ANNOTATION_CREATED"}),
            (f"?project={unknown}", {"action": "START_TRAINING"}),
            ("", {"action": "ANNOTATIONS_DELETED", "project": {"id": unknown}}),
            (f"?project={ours}", {"action": "ANNOTATION_UPDATED", "annotation": {"id": 10**9}}),
            (f"?project={ours}", {"action": "NO_SUCH_ACTION"}),
        ):
            url = f"{self.loop.url}/webhook{query}"
            answer = requests.post(url, json=body, auth=(USER, PASSWORD), timeout=10)
            assert answer.ok, answer.text

    def _rollback(self, event):
        self._command("rollback")

    def _unpin(self, event):
        self._command("unpin")

    def _command(self, name):
        self.recorder.by_person = True
        try:
            self.project.cli(name)
        except AssertionError as error:
            if "no earlier version" not in str(error):
                raise
        finally:
            self.recorder.by_person = False

    def _refused(self, event):
        self.points.failure = "refused"
        self.failures += 1

    def _unanswered(self, event):
        self.points.failure = "lost"
        self.failures += 1

    def _jump(self, event):
        """The clocks of this machine and of Label Studio go an hour forward or back."""
        self.clock.jump(3600 if event.number % 2 else -3600)

    def _cut(self, event):
        """The answer to the next post of an order gets lost."""
        path = f"/api/projects/{self.project.id}/import/predictions"
        self.loop.studio.fault("POST", path, cut=True)

    def _kill(self, event):
        self.kills += 1
        raise Killed

    def _sleep(self, event):
        """The worker sleeps past its lease: another one takes over and goes on to other rounds."""
        self.takeovers += 1
        self.loop.start_worker()
        for number in range(1 + event.number % 3):
            if number:
                self._import(Event("import"))
                self._label(Event("label", number))
            self.loop.turn()
            self.loop.clean()

    def _turn(self, event):
        """A turn of all threads of the worker, with what happens inside."""
        plan = {point: lambda inner=inner: self.happen(inner) for point, inner in event.inside}
        self.turns += 1
        self.loop.worker._pauses.clear()  # the pause after a failure is over
        with self.points.turn(plan):
            try:
                self.loop.turn()
                self.loop.clean()
            except Killed:
                self.loop.start_worker()
            except LeaseLost:
                pass  # the other worker goes on

    def settle(self):
        """Let the backend come to rest: no faults, and one training of all labels at the end."""
        self._release()
        for again in range(2):
            for _ in range(20):
                before = self.project.rounds[0].number
                self._turn(Event("turn"))
                if not self.loop.store.open_rounds() and self.project.rounds[0].number == before:
                    break
            else:
                raise AssertionError("the backend does not come to rest")
            if not again:
                self.project.start_training()
        with contextlib.suppress(KeyError):
            for number in range(len(self.people)):
                self._ask(Event("ask", number))
