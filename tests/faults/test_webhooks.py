"""F4: webhooks are lost, doubled, reordered or strange; the final state is that without."""

import pytest

from demo.records import Violation
from tests.faults import planted
from tests.faults.driver import Event
from tests.faults.schedules import Schedules, random_events

KINDS = ("lost", "doubled", "held", "delivered", "stray")
"""Events that change what becomes of Label Studio's webhooks."""
WEIGHTS = {
    "mark": 6, "unmark": 1, "edit": 2, "delete": 1, "again": 1, "import": 1, "train": 1,
    "lost": 2, "doubled": 2, "held": 2, "delivered": 2, "stray": 2, "turn": 5,
}  # fmt: skip
"""Labels are given to tasks by their ids, since the order may differ between two such runs."""
SCRIPT = (
    Event("mark", 1), Event("mark", 2), Event("edit", 0), Event("turn"), Event("mark", 0),
    Event("again", 1), Event("import", 1), Event("turn"), Event("delete", 2), Event("unmark", 3),
    Event("train"), Event("mark", 5), Event("turn"), Event("edit", 1),
)  # fmt: skip


def final_state(driver):
    """What must not depend on webhooks, once the backend has come to rest."""
    project, store = driver.project, driver.loop.store
    state, pending = store.project(project.id).state, store.pending_events()
    return {
        "labels": {(each.task, each.annotation, each.split) for each in driver.last_labels()},
        "tasks with a place": set(project.order()),
        "order as stored": project.order() == project.stored_order(project.version()),
        "changed since the training": state.changed,
        "waiting": (state.waiting_reason, {event.kind for event in pending} - {"config"}),
        "settings": {name: project.current()[name] for name in ("sampling", "title")},
        "webhooks": len(project.hooks()),
    }


class Webhooks(Schedules):
    """A schedule is bad, too, if its final state is not that of a run without lost webhooks."""

    def violations(self, events):
        """What the run breaks, and each difference by its name."""
        self.state = {}
        found = super().violations(events)
        lossy = self.state
        found += super().violations([each for each in events if each.name not in KINDS])
        return found + [
            Violation(f"other {name}", f"{lossy.get(name)} instead of {expected}")
            for name, expected in self.state.items()
            if lossy and lossy[name] != expected
        ]

    def finished(self, driver):
        self.state = final_state(driver)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lost", "doubled", "held", "stray"])
@pytest.mark.fault("F4", "lost", "doubled")
def test_the_final_state_is_that_of_a_run_without_loss(tmp_path, untrained_model, kind, figures):
    runs = Webhooks(tmp_path, untrained_model, settings={"TRAIN_AFTER": "3"})
    events = [each for event in SCRIPT for each in (Event(kind), event)]
    found = runs.violations(events)
    figures(differences=len(found))
    assert not found, "\n".join(f"{each.name}: {each.says}" for each in found)
    assert runs.state["labels"]


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.fault("F4", "lost", "doubled")
def test_random_schedules_of_webhooks_end_as_one_without_loss(
    tmp_path, untrained_model, figures, full
):
    runs = Webhooks(tmp_path, untrained_model, settings={"TRAIN_AFTER": "3"})
    seeds, reports = range(40 if full else 3), []
    for seed in seeds:
        report = runs.report(seed, random_events(seed, 30, inside={}, outside=WEIGHTS))
        reports += [report] if report else []
    figures(schedules=len(seeds), differences=len(reports))
    assert not reports, "\n\n".join(reports)


@pytest.mark.slow
def test_a_worker_that_trusts_webhooks_is_found_and_the_seed_shrunk(tmp_path, untrained_model):
    runs = Webhooks(tmp_path, untrained_model, breaks=planted.trust_webhooks)
    events = [Event("import", 0), Event("lost"), Event("mark", 1), Event("turn")]
    first, *_, opening, lost, mark, closing = runs.report(7, events).splitlines()
    assert first.startswith("seed 7: lost annotation: ")
    assert (opening, lost.strip(), closing) == ("[", 'Event("lost", 0),', "]")
    assert mark.strip() == 'Event("mark", 1),'
