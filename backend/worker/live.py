"""The live evaluation: compares pre-annotations with the annotations that people submitted.

Each new or edited annotation is compared once, with the regions that the editor started from. Label
Studio keeps the id of that prediction with the annotation (`parent_prediction`), even if it has no
region, and the prediction names its version. The id is missing after a resumed draft, from an API
client, or if the prediction was deleted. Then region ids identify the version: they are derived
from a region's content, and the editor keeps them. An annotation with neither counts as unknown. It
is not compared with the version that served, because an annotator who started from an empty page
would seem to have removed every region.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from backend.errors import RegionError, StoreError, StudioNotFound
from backend.label_studio.label_config import LabelConfig
from backend.label_studio.regions import decode_annotation
from backend.label_studio.regions.decode import image_size
from backend.store import predictions
from backend.store.blank import is_blank
from backend.store.live import Counts, Kind, LiveRow
from backend.store.versions import Version
from backend.worker.context import RoundContext
from backend.worker.dataset import Task, seconds_of, submitted
from taudis.data.coco import encode
from taudis.evaluation.changes import changes
from taudis.evaluation.matching import EvaluatedImage
from taudis.types import BoolArray, Target

logger = logging.getLogger(__name__)

ROWS_AT_A_TIME = 50  # rows that one transaction writes; a killed worker resumes after them
CLOCKS_APART = 3600.0  # seconds by which Label Studio's clock may differ from this machine's
FROM_PREDICTION = ("prediction", "prediction-changed")
"""The `origin` that the editor gives to regions of a prediction."""

Regions = Sequence[Mapping[str, Any]]


def read_annotations(context: RoundContext, annotated: Sequence[Task], config: LabelConfig) -> None:
    """Compare new and edited annotations, and delete the rows of deleted or cancelled annotations.

    `annotated`: all tasks with an annotation. A repeated call with the same tasks changes nothing.
    """
    known = {row.annotation: row for row in context.store.live_rows(context.project_id)}
    reader, rows, there = _Reader(context, config), list[LiveRow](), set[int]()
    for task in annotated:
        for annotation in submitted(task):
            there.add(int(annotation["id"]))
            before = known.get(int(annotation["id"]))
            if before is None or before.updated_at != str(annotation.get("updated_at") or ""):
                rows.append(reader.row(int(task["id"]), annotation, before))
            if len(rows) == ROWS_AT_A_TIME:
                context.store.keep_live_rows(context.lease, context.project_id, rows)
                rows = []
    context.store.keep_live_rows(context.lease, context.project_id, rows)
    context.store.forget_live_rows(context.lease, context.project_id, known.keys() - there)


@dataclass(frozen=True)
class _Given:
    """What an annotation started from; `regions` is None if they are no longer known."""

    kind: Kind
    version: str = ""
    regions: Regions | None = None


class _Reader:
    """Compares annotations of one project with the pre-annotations that they started from."""

    def __init__(self, context: RoundContext, config: LabelConfig) -> None:
        self._context, self._config = context, config
        made = context.store.versions(context.project_id, pruned=True)
        self._versions: dict[str, Version] = {row.version: row for row in made}
        self._first = min((row.created for row in made), default=float("inf"))

    def row(self, task: int, annotation: Mapping[str, Any], before: LiveRow | None) -> LiveRow:
        """The row of an annotation. `before`: its row before the edit, if there is one."""
        try:
            given = self._given(task, annotation, before)
        except StoreError as error:
            logger.warning("Project %s: %s", self._context.project_id, error)
            given = _Given("unknown")
        who, took = annotation.get("completed_by"), annotation.get("lead_time")
        found = LiveRow(
            annotation=int(annotation["id"]),
            task=task,
            updated_at=str(annotation.get("updated_at") or ""),
            kind=given.kind,
            version=given.version,
            annotator=who if isinstance(who, int) else None,
            lead_time=float(took) if isinstance(took, (int, float)) and took > 0 else None,
        )
        if given.regions is None:
            counts = None if before is None or before.kind != given.kind else before.counts
            return replace(found, counts=counts, outdated=counts is not None)
        try:
            counts = compare(given.regions, _result(annotation), self._config)
        except RegionError as error:
            logger.info("Annotation %s is not compared: %s", annotation["id"], error)
            return replace(found, kind="unreadable")
        if given.kind == "visible" and took is None and _untouched(counts):
            # The Data Manager's "Create annotations from predictions": no person saw it.
            return replace(found, kind="converted")
        return replace(found, counts=counts)

    def _given(self, task: int, annotation: Mapping[str, Any], before: LiveRow | None) -> _Given:
        """What an annotation started from."""
        created = seconds_of(annotation.get("created_at"))
        if created < self._first - CLOCKS_APART:
            return _Given("before")
        parent = annotation.get("parent_prediction")
        if isinstance(parent, int):
            try:
                prediction = self._context.studio.prediction(parent)
            except StudioNotFound:
                pass
            else:
                version = str(prediction.get("model_version") or "")
                return self._of_version(task, version, prediction.get("result") or [])
        if before is not None and before.kind in ("visible", "blank"):
            return _Given(before.kind, before.version, self._stored(task, before.version))
        return self._by_regions(task, annotation, created)

    def _of_version(self, task: int, version: str, regions: Regions) -> _Given:
        """What an annotation started from whose prediction Label Studio still has."""
        made = self._versions.get(version)
        if made is None:
            return _Given("other_model", version)
        if not made.model or self._config.scores_only:
            return _Given("no_model", version)
        if regions:
            return _Given("visible", version, regions)
        with self._opened(version) as stored:
            if stored is None:
                return _Given("unknown", version)
            if not stored.has_place(task):  # predicted on the spot
                settings = self._context.settings
                blank = is_blank(task, settings.blank_share, settings.seed)
                return _Given("blank", version) if blank else _Given("visible", version, [])
            if not stored.was_scored(task):
                return _Given("no_model", version)
            found = json.loads(stored.found(task))
            if stored.is_blank(task):
                return _Given("blank", version, found)
        # Label Studio had only the score: one post could not carry the regions of every task.
        return _Given("unknown", version) if found else _Given("visible", version, [])

    def _by_regions(self, task: int, annotation: Mapping[str, Any], created: float) -> _Given:
        """The version whose regions the annotation has, or which left the task blank.

        If several versions fit, the newest that existed when the annotation was made.
        """
        rows = [row for row in _result(annotation) if isinstance(row, Mapping)]
        ids = {str(row.get("id") or "") for row in rows}
        served = [row for row in self._versions.values() if row.created <= created + CLOCKS_APART]
        served.sort(key=lambda row: (row.created <= created, row.created), reverse=True)
        for row in served:
            with self._opened(row.version if row.model else "") as stored:
                if stored is None or not (stored.has_place(task) and stored.was_scored(task)):
                    continue
                found = json.loads(stored.found(task))
                if stored.is_blank(task):
                    return _Given("blank", row.version, found)
                if ids & {region.get("id") for region in found}:
                    return _Given("visible", row.version, found)
        origins = {str(row.get("origin")) for row in rows}
        if not any(row.model for row in served) and not origins & set(FROM_PREDICTION):
            return _Given("no_model")
        return _Given("unknown")

    def _stored(self, task: int, version: str) -> Regions | None:
        """The regions of a version from the local predictions file; None if it was pruned."""
        with self._opened(version) as stored:
            if stored is None or not stored.has_place(task):
                return None
            regions: Regions = json.loads(stored.found(task))
            return regions

    @contextmanager
    def _opened(self, version: str) -> Iterator[predictions.Stored | None]:
        """The predictions file of a version; None if it is missing or unreadable."""
        context, stored = self._context, None
        with ExitStack() as stack:
            with suppress(StoreError):  # pruned, or written by another release
                path = predictions.path_of(context.data, context.project_id, version)
                stored = stack.enter_context(predictions.Stored.opened(path))
            yield stored


def compare(
    given: Regions, submitted_regions: Sequence[Any], config: LabelConfig
) -> dict[str, Counts]:
    """Count by label how the regions of a pre-annotation were changed.

    Args:
        given: the pre-annotation's regions as Label Studio has them, best score first.
        submitted_regions: the `result` of the annotation.
        config: the labelling config. Given regions with a label that it lacks are not counted.

    Raises:
        RegionError: the pixels of a submitted region are unknown.
    """
    size = image_size([*given, *submitted_regions], config)
    if size is None:
        if submitted_regions:
            raise RegionError("no region states original_width and original_height.", "no_size")
        return {}
    after = decode_annotation(submitted_regions, config, size=size)
    dropped = next((each for each in after.problems if each.effect == "dropped"), None)
    if dropped is not None:
        raise RegionError(dropped.reason)
    before = decode_annotation(given, config, size=size).target
    if before is None or after.target is None:
        return {}
    image = _evaluated(before, after.target, size)
    found = changes(image)
    return {
        config.label_map.name(label): {key: n for key, n in asdict(counts).items() if n}
        for label, counts in sorted(found.items())
    }


def _result(annotation: Mapping[str, Any]) -> list[Any]:
    result = annotation.get("result")
    return result if isinstance(result, list) else []


def _untouched(counts: Mapping[str, Counts]) -> bool:
    """Whether every region was accepted and none added."""
    return not any(each.keys() - {"accepted", "unchanged"} for each in counts.values())


def _evaluated(before: Target, after: Target, size: tuple[int, int]) -> EvaluatedImage:
    """The submitted objects as ground truth, the pre-annotation's regions as detections.

    A submitted region with an unknown label matches detections of every label (ANY_LABEL).
    """
    known = ~before.iscrowd  # crowds are regions with an unknown label
    return EvaluatedImage(
        size,
        after.labels,
        _encoded(after.masks),
        after.iscrowd,
        before.labels[known],
        -np.arange(int(known.sum()), dtype=np.float64),  # the first region has the best score
        _encoded(before.masks[known]),
    )


def _encoded(masks: BoolArray) -> list[dict[str, Any]]:
    return [encode(mask) for mask in masks]
