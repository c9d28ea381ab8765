"""Breaks the worker on purpose, each time in one of the ways that a history must show."""

import dataclasses
from collections import Counter

from backend.store import predictions
from backend.store.events import Events
from backend.worker import publish, sync
from backend.worker import round as rounds
from backend.worker.context import version_name


def lose_an_annotation(patch):
    """The snapshot lacks its last label."""
    real = sync.take_snapshot

    def take(*arguments):
        snapshot = real(*arguments)
        return dataclasses.replace(snapshot, entries=snapshot.entries[:-1])

    patch.setattr(sync, "take_snapshot", take)


def post_again_under_the_same_version(patch):
    """A publish attempt that was cut short is repeated under its own version."""

    def post(context, round_, path):
        with predictions.Stored.opened(path) as stored:
            rows = stored.sizes()
            version = version_name(round_)
            made = publish.bulk_post(stored, version, rows, len(rows))
            context.studio.import_predictions(context.project_id, made)
        return publish.Posted(version, len(rows), len(rows))

    patch.setattr(publish, "_post", post)


def _after_flip(patch, then):
    """Do something more in the step that switches the order."""
    real = rounds.STEP_FUNCTIONS["flipped"]

    def flip(context, round_, report):
        result = real(context, round_, report)
        then(context, round_)
        return result

    patch.setattr(rounds, "STEP_FUNCTIONS", {**rounds.STEP_FUNCTIONS, "flipped": flip})


def go_back_to_the_order_before(patch):
    """A worker that lost its lease sends the switch of its own round late."""

    def switch(context, round_):
        orders = [row.version for row in context.store.versions(context.project_id)]
        if len(orders) > 1:
            context.studio.patch_project(context.project_id, model_version=orders[1])

    _after_flip(patch, switch)


def switch_twice(patch):
    """A round is published and switched to a second time, as another attempt."""

    def again(context, round_):
        version = version_name(round_, 2)
        order = predictions.order(
            predictions.path_of(context.data, context.project_id, version_name(round_))
        )
        rows = [
            {"task": each.task, "result": [], "score": each.score, "model_version": version}
            for each in order
        ]
        if rows:
            context.studio.import_predictions(context.project_id, rows)
            context.studio.patch_project(context.project_id, model_version=version)

    _after_flip(patch, again)


def answer_without_recording(patch):
    """The web process answers every other webhook about labels 2xx, and forgets it."""
    real_record, counted = Events.record_event, Counter()

    def record(store, project, kind):
        counted[kind] += 1
        if kind != "changed" or counted[kind] % 2:
            real_record(store, project, kind)

    patch.setattr(Events, "record_event", record)


def trust_webhooks(patch):
    """A snapshot has as many labels as webhooks came for them."""
    real_record, real_take, counted = Events.record_event, sync.take_snapshot, Counter()

    def record(store, project, kind):
        counted[project] += kind == "changed"
        real_record(store, project, kind)

    def take(project, tasks, config, fraction):
        return real_take(project, tasks[: counted[project]], config, fraction)

    patch.setattr(Events, "record_event", record)
    patch.setattr(sync, "take_snapshot", take)
