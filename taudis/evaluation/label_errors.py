"""Finds labelled objects that are likely wrong, with a model that was not trained on their image.

There are five kinds of errors. Each has a suspicion, 0..1:

    label    the model detects the object, and another label is more likely than the given one
    outline  the model detects the object, and its mask lies elsewhere
    missed   the model detects an object where none is labelled
    nothing  the model detects nothing here, but most other objects of this label and size
    double   the object lies on another object of its label

Northcutt et al. (Confident Learning, 2021) compare labels with held-out probabilities. Tkachenko et
al. (ObjectLab, 2023) find overlooked, badly located and swapped boxes. Here masks are compared. The
reliability of the model, which may have few labels, is estimated from its matches (`Trust`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from faster_coco_eval import mask as rle_tools

from taudis.evaluation.matching import FITS, EvaluatedImage
from taudis.types import BoolArray, FloatArray, LabelMap

Kind = Literal["label", "outline", "missed", "nothing", "double"]
KINDS: tuple[Kind, ...] = ("label", "outline", "missed", "nothing", "double")

TOUCHES = 0.1
"""Least mask IoU of a detection and the object that it may belong to."""
DOUBLE = 0.7
"""Least mask IoU of two labels for the same object. Neighbouring objects overlap far less."""
COVERED = 0.5
"""A detection with at least this share inside a labelled object is a part of it, not missed."""
LEAST = 0.05
"""Suspicions below this are not reported."""
SIZES = 3
"""Number of equally large groups, by mask area, for which recall is measured."""


@dataclass(frozen=True, eq=False)
class HeldOutImage:
    """A labelled image, and the detections of a model that was not trained on it."""

    number: int  # of the image
    evaluated: EvaluatedImage  # g objects and n detections
    class_probs: FloatArray  # [n,K+1], rows sum to 1, column 0 is background


class Suspect(NamedTuple):
    """A likely error."""

    suspicion: float  # 0..1, higher is more likely an error
    kind: Kind
    image: int  # number of the image
    object: int  # row of the labelled object, -1 for "missed"
    detection: int  # row of the detection that shows the error, or -1
    other: int  # row of the object that this one lies on ("double"), or -1
    label: int  # 1..K of the object; for "missed" of the detection
    likely: int  # 1..K, the label according to the model; 0 for none
    iou: float  # mask IoU of object and detection, or of object and other; 0 for none

    def sentence(self, labels: LabelMap) -> str:
        """The reason in words."""
        name, sure = labels.name(self.label), f"{100 * self.suspicion:.0f} %"
        if self.kind == "label":
            return f"labelled {name}, and the model sees {labels.name(self.likely)} ({sure})"
        if self.kind == "outline":
            iou = f"IoU {self.iou:.2f}"
            return f"the model's mask of this {name} differs from the labelled mask ({iou})"
        if self.kind == "missed":
            return f"the model sees a {name} that is not labelled ({sure})"
        if self.kind == "double":
            return f"lies on another {name} (IoU {self.iou:.2f})"
        return f"the model sees nothing here, but finds {sure} of similar objects"

    def box(self, image: HeldOutImage) -> list[int]:
        """x, y, width and height in px of the object, or for "missed" of the detection."""
        truth = image.evaluated
        missed = self.object < 0
        mask = truth.masks[self.detection] if missed else truth.true_masks[self.object]
        return [round(side) for side in rle_tools.toBbox(mask).tolist()]


@dataclass(frozen=True, eq=False)
class _Overlap:
    """The overlaps of detections and objects in an image."""

    image: HeldOutImage
    ious: FloatArray  # [n,g] mask IoU; for a crowd region, the share of the detection inside it
    within: FloatArray  # [n] largest share of the detection inside an object or crowd region
    areas: FloatArray  # [g] px
    single: BoolArray  # [g] not a crowd region

    @property
    def truth(self) -> EvaluatedImage:
        return self.image.evaluated


@dataclass(frozen=True, eq=False)
class Trust:
    """The reliability of the models, from their matches on all held-out images."""

    scores: FloatArray  # [m] ascending
    precision: FloatArray  # [m] share of detections with this score that fit an object, rising
    edges: FloatArray  # [K+1,SIZES-1] px, limits of the groups by mask area, for each label
    recall: FloatArray  # [K+1,SIZES] share of a group's objects that a detection fits
    usual: FloatArray  # [K+1] median IoU of objects and the detections that fit them

    def of_score(self, scores: FloatArray) -> FloatArray:
        """The precision of detections with these scores."""
        if not len(self.scores):
            return np.zeros(len(scores))
        return np.interp(scores, self.scores, self.precision)

    def of_object(self, label: int, area: float) -> float:
        """The recall of an object's group."""
        return float(self.recall[label, np.searchsorted(self.edges[label], area, side="right")])


def find_suspects(images: Sequence[HeldOutImage]) -> list[Suspect]:
    """The likely errors of all images, the most suspicious first; ties in the order of images.

    Each object has at most one suspicion, its largest. The suspicions of an image depend on other
    images only through `Trust`.
    """
    overlaps = [_overlap(image) for image in images]
    trust = _trust(overlaps)
    found = [suspect for each in overlaps for suspect in _of_image(each, trust)]
    return sorted(found, key=lambda suspect: -suspect.suspicion)


def _overlap(image: HeldOutImage) -> _Overlap:
    truth = image.evaluated
    crowd = truth.iscrowd.astype(np.uint8).tolist()
    shape = (len(truth.masks), len(truth.true_masks))
    ious, shares = np.zeros(shape), np.zeros(shape)
    if shape[0] and shape[1]:
        ious = np.asarray(rle_tools.iou(truth.masks, truth.true_masks, crowd))
        # For crowd regions (here: all), COCO's "IoU" is the share of the detection inside it.
        shares = np.asarray(rle_tools.iou(truth.masks, truth.true_masks, [1] * shape[1]))
    return _Overlap(
        image, ious, shares.max(1, initial=0.0), _areas(truth.true_masks), ~truth.iscrowd
    )


def _areas(masks: Sequence[dict[str, Any]]) -> FloatArray:
    return np.array([float(rle_tools.area(mask)) for mask in masks])


def _trust(overlaps: Sequence[_Overlap]) -> Trust:
    """Precision by score, recall by label and size, and the usual IoU."""
    # scipy.optimize takes half a second to import, so only a review does.
    from scipy.optimize import isotonic_regression

    labels = max((each.image.class_probs.shape[1] for each in overlaps), default=1)
    scores = np.concatenate([np.zeros(0), *(each.truth.scores for each in overlaps)])
    fits = np.concatenate([np.zeros(0), *(_fits(each).any(1) for each in overlaps)])
    order = np.argsort(scores, kind="stable")
    precision = isotonic_regression(fits[order]).x if len(order) else np.zeros(0)
    edges, recall = np.zeros((labels, SIZES - 1)), np.zeros((labels, SIZES))
    usual = np.ones(labels)
    for label in range(1, labels):
        area, seen, iou = _objects_of(overlaps, label)
        if len(area):
            edges[label] = np.quantile(area, np.arange(1, SIZES) / SIZES)
            group = np.searchsorted(edges[label], area, side="right")
            count = np.bincount(group, minlength=SIZES)
            # + 1 counts one more missed object, which lowers the recall of small groups.
            recall[label] = np.bincount(group, seen, SIZES) / (count + 1)
        if seen.any():
            usual[label] = np.median(iou[seen])
    return Trust(scores[order], precision, edges, recall, usual)


def _fits(each: _Overlap) -> BoolArray:
    """Whether a detection fits an object of its label, [n,g]."""
    same = each.truth.labels[:, None] == each.truth.true_labels[None, :]
    found: BoolArray = (each.ious >= FITS) & same
    return found


def _objects_of(
    overlaps: Sequence[_Overlap], label: int
) -> tuple[FloatArray, BoolArray, FloatArray]:
    """Of all objects of a label: area, whether a detection fits, and the best IoU; each [m]."""
    area: list[FloatArray] = [np.zeros(0)]
    seen: list[BoolArray] = [np.zeros(0, bool)]
    iou: list[FloatArray] = [np.zeros(0)]
    for each in overlaps:
        rows = np.flatnonzero((each.truth.true_labels == label) & each.single)
        fits = _fits(each)[:, rows]
        area.append(each.areas[rows])
        seen.append(np.any(fits, axis=0))
        iou.append(np.where(fits, each.ious[:, rows], 0).max(0, initial=0.0))
    return np.concatenate(area), np.concatenate(seen), np.concatenate(iou)


def _of_image(each: _Overlap, trust: Trust) -> list[Suspect]:
    doubles = _doubles(each)
    found = [*_missed(each, trust)]
    for row in np.flatnonzero(each.single).tolist():
        kinds = [_label(each, row), _outline(each, row, trust), _nothing(each, row, trust)]
        if row in doubles:
            kinds.append(doubles[row])
        found.append(max(kinds, key=lambda suspect: suspect.suspicion))
    return [suspect for suspect in found if suspect.suspicion >= LEAST]


def _label(each: _Overlap, row: int) -> Suspect:
    """The kind label: how much more probable another label is, by detections that fit."""
    label = int(each.truth.true_labels[row])
    fits = np.flatnonzero(each.ious[:, row] >= FITS)
    probs = each.image.class_probs[fits]
    if not len(fits):
        return _suspect(each, "label", 0.0, row, -1)
    own = float(probs[:, label].max())
    probs = probs.copy()
    probs[:, [0, label]] = 0
    best, other = np.unravel_index(int(probs.argmax()), probs.shape)
    suspicion = max(0.0, float(probs[best, other]) - own)
    return _suspect(each, "label", suspicion, row, int(fits[best]), likely=int(other))


def _outline(each: _Overlap, row: int, trust: Trust) -> Suspect:
    """The kind outline: how much lower than usual the IoU of the best detection is."""
    meant = np.flatnonzero(
        (each.ious[:, row] >= TOUCHES)
        & (each.ious[:, row] >= each.ious.max(1, initial=0.0))
        & (each.truth.labels == each.truth.true_labels[row])
    )
    if not len(meant):
        return _suspect(each, "outline", 0.0, row, -1)
    sure = trust.of_score(each.truth.scores[meant]) * each.truth.scores[meant]
    best = int(meant[int(sure.argmax())])
    usual = float(trust.usual[int(each.truth.true_labels[row])])
    far = max(0.0, 1 - float(each.ious[best, row]) / usual)
    return _suspect(each, "outline", float(sure.max()) * far, row, best)


def _nothing(each: _Overlap, row: int, trust: Trust) -> Suspect:
    """The kind nothing: the recall of the object's group, if no detection touches the object."""
    touched = (each.ious[:, row] >= TOUCHES).any()
    label, area = int(each.truth.true_labels[row]), float(each.areas[row])
    return _suspect(each, "nothing", 0.0 if touched else trust.of_object(label, area), row, -1)


def _missed(each: _Overlap, trust: Trust) -> list[Suspect]:
    """The kind missed: detections that touch no object, by the precision of their score.

    Of detections that overlap, only the best one counts.
    """
    free = each.ious.max(1, initial=0.0) < TOUCHES
    rows = np.flatnonzero(free & (each.within < COVERED))
    rows = rows[np.argsort(-each.truth.scores[rows], kind="stable")]
    found: list[Suspect] = []
    taken: list[dict[str, Any]] = []
    for row in rows.tolist():
        mask = each.truth.masks[row]
        if taken and np.asarray(rle_tools.iou([mask], taken, [0] * len(taken))).max() >= TOUCHES:
            continue
        taken.append(mask)
        score = each.truth.scores[row : row + 1]
        suspicion = float(trust.of_score(score)[0] * score[0])
        found.append(_suspect(each, "missed", suspicion, -1, row))
    return found


def _doubles(each: _Overlap) -> dict[int, Suspect]:
    """The kind double: objects that lie on an earlier object of their label, by their row."""
    found: dict[int, Suspect] = {}
    masks, labels = each.truth.true_masks, each.truth.true_labels
    for label in np.unique(labels[each.single]).tolist():
        rows = np.flatnonzero((labels == label) & each.single)
        some = [masks[row] for row in rows]
        ious = np.tril(np.asarray(rle_tools.iou(some, some, [0] * len(some))), -1)
        for later in np.flatnonzero(ious.max(1) >= DOUBLE).tolist():
            earlier = int(ious[later].argmax())
            found[int(rows[later])] = _suspect(
                each, "double", float(ious[later, earlier]), int(rows[later]), -1,
                other=int(rows[earlier]),
            )  # fmt: skip
    return found


def _suspect(
    each: _Overlap,
    kind: Kind,
    suspicion: float,
    row: int,
    detection: int,
    *,
    other: int = -1,
    likely: int | None = None,
) -> Suspect:
    truth = each.truth
    seen = int(truth.labels[detection]) if detection >= 0 else 0
    label = int(truth.true_labels[row]) if row >= 0 else seen
    iou = suspicion if other >= 0 else 0.0
    if row >= 0 and detection >= 0:
        iou = float(each.ious[detection, row])
    return Suspect(
        suspicion, kind, each.image.number, row, detection, other, label,
        seen if likely is None else likely, iou,
    )  # fmt: skip
