"""Checks the labels that changed since the last training, for the status page.

The next training, which may be hours away, leaves out every region that it cannot use. The
scheduler therefore checks each changed annotation when it counts it, and the status page lists
unusable regions at once. The check loads no image, so only training finds a faulty image.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from backend.errors import LabelConfigError
from backend.label_studio.label_config import LabelConfig, parse_label_config
from backend.label_studio.left_out import LeftOut, Summary, of_region
from backend.label_studio.regions.decode import problems_of
from backend.store.state import ProjectChanges
from backend.worker.context import RoundContext
from backend.worker.dataset import Task, choose_annotation

logger = logging.getLogger(__name__)

MAX_SECONDS = 1.0
"""After this time, a check starts no further annotation, because events wait meanwhile."""

Key = tuple[int, int, str]
"""Task id, annotation id, and the time of the annotation's last update."""


@dataclass(frozen=True)
class Changed:
    """Tasks whose counting annotation was added, edited or deleted since a training read them."""

    count: int
    since: int  # number of that training's round; 0 before the first
    tasks: Sequence[Task] | None  # the changed tasks that have annotations; None: not read


@dataclass
class _Found:
    """The problems found in the changed annotations of one project."""

    config: str = ""  # the labelling config of the check
    found: dict[Key, tuple[LeftOut, ...]] = field(default_factory=dict)


_found: dict[int, _Found] = {}
"""Project id -> results, kept in memory only: a restarted worker checks again."""


_keys: dict[int, frozenset[Key]] = {}
"""Project id -> the changed annotations at the last count, kept in memory only."""


def note(context: RoundContext, changed: Changed) -> None:
    """Write to the project's row how many tasks changed and which of their regions are unusable."""
    state = context.load_project().state
    values: ProjectChanges = {}
    edited = changed.tasks is not None and _edited(context.project_id, changed.tasks)
    if edited or changed.count != state.changed:
        values |= {"changed": changed.count, "labelled_at": time.time()}
    if changed.since != state.changed_since:
        values["changed_since"] = changed.since
    if changed.tasks is not None:
        unusable = _unusable(context.project_id, changed.tasks, state.label_config)
        if unusable.to_json() != (state.unusable or Summary().to_json()):
            values["unusable"] = unusable.to_json()
            if unusable:
                words = unusable.in_words("Tasks that the next training leaves out")
                logger.info("Project %s, changed labels: %s", context.project_id, words)
    if values:
        context.store.update_project(context.project_id, **values)


def _edited(project: int, tasks: Sequence[Task]) -> bool:
    """Whether a changed annotation is not as it was at the last count.

    An edit of a task that counts as changed already leaves the count as it is. After a restart of
    the worker the answer is True once: somebody may have edited meanwhile.
    """
    found = frozenset(key for task in tasks if (key := _key(task)) is not None)
    before = _keys.get(project)
    _keys[project] = found
    return found != before


def _key(task: Task) -> Key | None:
    """The key of a task's counting annotation; None if it has none."""
    annotation = choose_annotation(task)
    if annotation is None:
        return None
    return int(task["id"]), int(annotation["id"]), str(annotation.get("updated_at"))


def _unusable(project: int, tasks: Sequence[Task], xml: str) -> Summary:
    """What the next training cannot use of the changed tasks that were checked so far."""
    try:
        config = parse_label_config(xml)
    except LabelConfigError:
        return Summary()  # the page shows elsewhere that no round can start
    before = _found.get(project, _Found())
    known = before.found if before.config == xml else {}
    found: dict[Key, tuple[LeftOut, ...]] = {}
    until = time.monotonic() + MAX_SECONDS
    for task in tasks:
        annotation, key = choose_annotation(task), _key(task)
        if annotation is None or key is None:
            continue
        if key in known:
            found[key] = known[key]
        elif time.monotonic() < until:
            found[key] = _problems(key[0], annotation, config)
    _found[project] = _Found(xml, found)
    return Summary.of([row for key in sorted(found) for row in found[key]])


def _problems(task: int, annotation: dict[str, Any], config: LabelConfig) -> tuple[LeftOut, ...]:
    """Regions of one annotation that training leaves out, alone or with their whole task."""
    result = annotation.get("result")
    problems = problems_of(result if isinstance(result, list) else [], config)
    return tuple(of_region(task, each) for each in problems if each.effect != "used")
