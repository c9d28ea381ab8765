"""Annotators of a Label Studio whose requests and webhooks go through recording proxies."""

import json

from backend.label_studio.client import Studio
from demo.history import History
from tests.faults.recorder import Recorder


class People:
    """Annotators of one project. Make them before the backend is connected.

    Args:
        work: the project.
        proxy: a `RecordingProxy`; the worker's LABEL_STUDIO_URL must be its address, too.
        before_backend: another one, at whose address Label Studio reaches the backend.
        names: of the annotators.
        free: how many tasks stay unlabelled at least.
    """

    def __init__(self, work, proxy, before_backend, names=("ann", "ben"), free=8):
        self.work, self.proxy, self.free = work, proxy, free
        logins = {
            name: work.loop.studio.create_user(f"{name}{work.id}@work.example") for name in names
        }
        tokens = {f"Token {login.token}": name for name, login in logins.items()}
        self.clients = [Studio(proxy.url, login.token) for login in logins.values()]
        self.recorder = Recorder(work.id, tokens)
        self.records = self.recorder.records
        proxy.observers.append(self.recorder)
        before_backend.observers.append(self.recorder.to_backend)
        self._snapshots = {}

    # --- what they do -----------------------------------------------------------------------

    def act(self, dice):
        """One deed at random; a deletion where few tasks are left."""
        acts = {self.label: 7, self.edit: 1, self.delete: 1, self.again: 1, self.skip: 1}
        (act,) = dice.choices(list(acts), list(acts.values()))
        if act in (self.label, self.skip) and self._unlabelled() <= self.free:
            act = self.delete
        act(dice)

    def label(self, dice, **fields):
        """Submit the truth of the next task."""
        client = dice.choice(self.clients)
        task = client.next_task(self.work.id)
        if task is not None:
            client.create_annotation(task["id"], self.work.truth.regions(task["data"]), **fields)

    def skip(self, dice):
        self.label(dice, was_cancelled=True)

    def edit(self, dice):
        """Change a submitted annotation: its first region goes."""
        if act := self._chosen(dice):
            path = f"/api/annotations/{act.annotation}/"
            body = {"result": self._truth(act.task)[1:]}
            dice.choice(self.clients)._http.call("PATCH", path, what="Editing", body=body)

    def delete(self, dice):
        if act := self._chosen(dice):
            path = f"/api/annotations/{act.annotation}/"
            dice.choice(self.clients)._http.call("DELETE", path, what="Deleting")

    def again(self, dice):
        """Open a labelled task, and submit another annotation."""
        if act := self._chosen(dice):
            dice.choice(self.clients).create_annotation(act.task, self._truth(act.task))

    def _chosen(self, dice):
        """A submitted annotation that is still there, or None."""
        gone = {each.annotation for each in self.records.deleted}
        there = [act for act in self.records.done if not act.skipped and act.annotation not in gone]
        return dice.choice(there) if there else None

    def _truth(self, task):
        return self.work.truth.regions(self.work.client.get_task(task)["data"])

    def _unlabelled(self):
        return self.work.client.unlabelled(self.work.id)

    # --- what came of it --------------------------------------------------------------------

    def read_snapshots(self):
        """Keep the snapshots of the ended rounds, before the files of older ones are deleted."""
        for round_ in self.work.rounds():
            folder = self.work.loop.data / "rounds" / str(self.work.id) / f"{round_.number:04d}"
            path = folder / "snapshot.json"
            if round_.ended is not None and "synced" in round_.steps and path.exists():
                ended = round_.times["synced"]
                began = ended - round_.steps["synced"]["seconds"] - 0.01
                entries = json.loads(path.read_text())["entries"]
                self._snapshots[round_.number] = began, ended, entries

    def history(self):
        """All that the proxy saw, with the snapshots of the ended rounds."""
        self.read_snapshots()
        self.records.snapshots.clear()
        for number, snapshot in sorted(self._snapshots.items()):
            self.recorder.snapshot(number, *snapshot)
        self.records.events.update(self.work.loop.store.event_counts(self.work.id))
        return History(self.records)
