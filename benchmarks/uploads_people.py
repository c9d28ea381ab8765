"""What the annotators of `benchmarks.uploads` met: the order, and their waits."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from benchmarks.uploads_life import Life
from demo.order_check import DEFECTS, OrderCheck, Verdict

WITHOUT = "without the backend"
MOST = 1.3
"""Most times that the median of a wait may grow while rounds publish and prune."""
WORST_NEXT_SECONDS = 3.5
"""Longest answer to `next` that an annotator may meet."""
LISTED = 10  # defects with all that is known of them
CHECKED = ("round", "later import", "placing them", "prune by rows")
"""Phases whose waits are compared: those whose annotators take as long for a task as before."""


def work_without(life: Life) -> None:
    """All annotators label for a while before the backend is connected."""
    if not life.options.alone:
        return
    with life.phase(WITHOUT) as row:
        people = life.annotate_together(life.options.pause)
        time.sleep(life.options.alone)
        for person in people:
            person.stop()
        row["labels"] = sum(len(person.done) for person in people)


def against_without(rows: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The waits of each phase beside those without the backend; [] if they were not measured.

    rows: phase -> its waits, as of `Life.waited`.
    """
    before = rows.get(WITHOUT) or {}
    if not before:
        return []
    found = []
    for phase in CHECKED:
        waits = rows.get(phase) or {}
        if not waits.get("next_s", {}).get("count") or not waits["submit_s"].get("count"):
            continue
        ratios = [waits[k]["median"] / before[k]["median"] for k in ("next_s", "submit_s")]
        worst = waits["next_s"]["max"]
        found.append(
            {
                "phase": phase,
                "next_median_s": waits["next_s"]["median"],
                "next_ratio": round(ratios[0], 2),
                "submit_median_s": waits["submit_s"]["median"],
                "submit_ratio": round(ratios[1], 2),
                "worst_next_s": worst,
                "holds": max(ratios) <= MOST and worst <= WORST_NEXT_SECONDS,
            }
        )
    return found


def order_met(life: Life) -> dict[str, Any]:
    """The verdicts on all tasks that were served after the first order, and the defects.

    Tasks served under a version whose order was not kept are only counted. The check reads these
    requests too, because their tasks may still be locked when an order is served, and the
    benchmark's own requests, because they lock tasks for its account.
    """
    served = [one for person in life.annotators for one in person.served]
    done = [act for person in life.annotators for act in person.done]
    checked = [
        one
        for one in OrderCheck([*served, *life.looked_at], done, life.orders).checked()
        if {one.served.version_before, one.served.version_after} <= {*life.orders}
    ]
    verdicts: Counter[Verdict] = Counter(one.verdict for one in checked)
    defects = [one for one in checked if one.verdict in DEFECTS]
    return {
        "served": len(served),
        "checked": len(checked),
        "verdicts": dict(verdicts),
        "defects": len(defects),
        "first_defects": [
            {
                "annotator": one.served.annotator,
                "task": one.served.task,
                "better": one.better,
                "verdict": one.verdict,
                "version": one.served.version_after,
                "phase": life.phase_at(one.served.asked),
            }
            for one in defects[:LISTED]
        ],
    }
