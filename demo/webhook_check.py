"""Checks what became of Label Studio's webhooks to the backend.

- The backend's store recorded each webhook that was answered 2xx.
- The next snapshot has the annotation of such a webhook.
- It has the annotation of a webhook that was lost or answered with an error, too: the worker polls.

The second and third promise follow from the one about annotations (`label_check`). The check here
names the part that failed: the event of a webhook, or the poll.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from demo.label_check import LabelCheck
from demo.records import Done, Snapshot, Violation, Webhook

KINDS = {
    "ANNOTATION_CREATED": "changed",
    "ANNOTATIONS_CREATED": "changed",
    "ANNOTATION_UPDATED": "changed",
    "ANNOTATION_DELETED": "changed",
    "ANNOTATIONS_DELETED": "changed",
    "START_TRAINING": "train",
}
"""Action -> kind of event. Written down here again, because a check must not trust the backend."""
CREATED = "ANNOTATION_CREATED"


@dataclass(frozen=True)
class WebhookCheck:
    """The webhooks of a run, the events in the backend's store, and the check of its labels.

    events: kind -> number of recorded events; {} if they were not read.
    """

    webhooks: list[Webhook]
    events: Mapping[str, int]
    labels: LabelCheck

    def violations(self, snapshots: list[Snapshot]) -> Iterator[Violation]:
        """Webhooks that the backend answered and forgot, and labels that no poll found."""
        if not self.webhooks:
            return  # nobody recorded them
        yield from self._unrecorded()
        for snapshot in snapshots:
            for act in self.labels.lost(snapshot):
                yield self._of_lost(act, snapshot)

    def _unrecorded(self) -> Iterator[Violation]:
        """Kinds of which the store has fewer events than webhooks were answered 2xx."""
        answered = Counter(
            KINDS[each.action]
            for each in self.webhooks
            if each.acknowledged and each.action in KINDS
        )
        for kind, number in answered.items():
            if self.events and self.events.get(kind, 0) < number:
                yield Violation(
                    "unrecorded webhook",
                    f"{number} webhooks of kind {kind} were answered 2xx, and the store recorded"
                    f" {self.events.get(kind, 0)}.",
                )

    def _of_lost(self, act: Done, snapshot: Snapshot) -> Violation:
        """The violation for an annotation that a snapshot lost: by its webhook, or by the poll."""
        where = f"the snapshot of round {snapshot.round}"
        about = [each for each in self._about(act) if each.answered <= snapshot.began]
        if any(each.acknowledged for each in about):
            return Violation(
                "lost webhook",
                f"The webhook about annotation {act.annotation} of task {act.task} was answered"
                f" 2xx before {where} was read, and the annotation is not in it.",
            )
        return Violation(
            "missed poll",
            f"No webhook about annotation {act.annotation} of task {act.task} was answered 2xx"
            f" before {where} was read, and the poll did not find it.",
        )

    def _about(self, act: Done) -> list[Webhook]:
        """The webhooks about a submit.

        One without payload names no annotation. Label Studio sends it within the request that
        causes it, so the times tell.
        """
        return [
            each
            for each in self.webhooks
            if each.action == CREATED
            and (
                act.annotation in each.annotations
                if each.annotations
                else act.sent <= each.sent <= act.answered
            )
        ]
