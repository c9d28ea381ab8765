"""Checks after a run whether its history is possible under the backend's promises.

The promises, for one project:

- Each served task was the best open task of one published order that was in force at some time
  between the start and the end of the request (`order_check`).
- Each acknowledged annotation is in exactly one split, training or validation, of the next round's
  snapshot (`label_check`).
- Orders are never mixed, never go back, and switch once per round (`switch_check`).
- The backend's store has each webhook that was answered 2xx. Polling finds a label whose webhook
  was lost (`webhook_check`).

The method is that of Jepsen: requests are recorded with their start and end, and checked
afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from demo.label_check import LabelCheck
from demo.order_check import DEFECTS, MEANING, CheckedTask, OrderCheck
from demo.records import Records, Violation
from demo.switch_check import SwitchCheck
from demo.webhook_check import WebhookCheck


@dataclass(frozen=True)
class History:
    """The records of a run.

    orders: version -> task -> score, read back from Label Studio. `all_orders` adds the orders in
    the records of posts.
    """

    records: Records
    orders: Mapping[str, Mapping[int, float]] = field(default_factory=dict)

    def all_orders(self) -> dict[str, dict[int, float]]:
        """Version -> task -> its lowest score, which decides."""
        found = {version: dict(order) for version, order in self.orders.items()}
        for post in self.records.posted:
            order = found.setdefault(post.version, {})
            for task, score in post.scores.items():
                order[task] = min(score, order.get(task, score))
        return found

    def checked(self) -> list[CheckedTask]:
        """Every served task with its verdict, by the time of the request."""
        return self._order_check().checked()

    def violations(self) -> list[Violation]:
        """All broken promises; [] if the history is possible."""
        records, orders = self.records, self.all_orders()
        check = self._order_check()
        labels = LabelCheck(records.done, records.edited, records.deleted, records.gone)
        read = {snapshot.round: snapshot.began for snapshot in records.snapshots}
        switches = SwitchCheck(
            orders, records.posted, records.switched, records.done, records.imported,
            records.gone, read,
        )  # fmt: skip
        found = [_of_served(one) for one in check.checked() if one.verdict in DEFECTS]
        for one in records.served:
            found += switches.predicted(one, check.versions(one))
        for snapshot in records.snapshots:
            found += labels.violations(snapshot)
        webhooks = WebhookCheck(records.webhooks, records.events, labels)
        return [*found, *webhooks.violations(records.snapshots), *switches.violations()]

    def _order_check(self) -> OrderCheck:
        records = self.records
        return OrderCheck(
            records.served, records.done, self.all_orders(), records.switched, records.deleted,
            records.gone,
        )  # fmt: skip


def _of_served(one: CheckedTask) -> Violation:
    """The violation of a served task that is a defect."""
    better = f" Task {one.better} was better." if one.better is not None else ""
    served = one.served
    return Violation(
        "served again" if one.verdict == "labelled" else "out of order",
        f"{served.annotator} was served task {served.task}: {MEANING[one.verdict]}.{better}",
    )
