"""The attempts to post an order to Label Studio, until it has all rows of one of them.

Label Studio may still be importing when the answer to a post is cut off, as by a proxy that ends
each answer after its own time limit (nginx: 60 s by default). So the next attempt waits for a
while, and before it all earlier ones are looked at. Every attempt has its own version: of two
predictions of one version, the older one would decide the order.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from backend.errors import RoundError, StudioUnreachable
from backend.label_studio.queue import BulkPost
from backend.store.rounds import Round
from backend.worker.context import RoundContext, read_json, version_name, write_json

MAX_ATTEMPTS = 5
AWAIT_SECONDS = 300.0
"""How long an import may go on after its answer was cut off: ten times the longest one that was
measured (31 s for 10,000 predictions). One that takes longer is found before the next attempt. The
worker looks whenever the project's pause is over: after 5 s, 10 s, 20 s, ... 300 s."""
PROXY = (
    "A proxy before Label Studio may end answers too early: give it a time limit of 15 minutes"
    " (nginx: `proxy_read_timeout 900s`)."
)


class Attempts:
    """The publish attempts of one round, with their number on disk.

    The number is written before the post, so that two posts never share a version.
    """

    def __init__(self, context: RoundContext, round_: Round) -> None:
        self._context, self._round = context, round_
        self._marker = context.round_dir(round_) / "publishing.json"
        known = read_json(self._marker) if self._marker.exists() else {}
        self._made = int(known.get("attempt", 0))
        self._cut_off = float(known.get("cut_off", 0.0))  # the last answer, seconds since 1970

    def complete(self, held: Mapping[str, int], tasks: int) -> str:
        """The version of the first attempt of which Label Studio has all rows; '' if none is.

        Args:
            held: version -> number of its predictions in Label Studio.
            tasks: number of the order's tasks.
        """
        versions = (version_name(self._round, number) for number in range(1, self._made + 1))
        return next((version for version in versions if held.get(version, 0) >= tasks), "")

    def begin(self) -> str:
        """Begin a further attempt; its version.

        Raises:
            StudioUnreachable: Label Studio may still be importing the last one.
            RoundError: there were MAX_ATTEMPTS.
        """
        left = self._cut_off + AWAIT_SECONDS - time.time()
        if 0 < left <= AWAIT_SECONDS:  # more: the clock went back
            raise StudioUnreachable(
                f"The answer to the new order's post was cut off. The order is posted again in"
                f" {left:.0f} s, unless Label Studio ends the import before. {PROXY}"
            )
        if self._made >= MAX_ATTEMPTS:
            raise RoundError(
                f"Label Studio did not take the new order in {self._made} attempts; its log says"
                f" why. {PROXY} The previous order stays."
            )
        self._made += 1
        write_json(self._marker, {"attempt": self._made})
        return version_name(self._round, self._made)

    def post(self, rows: BulkPost) -> None:
        """Post the order under the version of the attempt that began last.

        Raises:
            StudioUnreachable: no answer came. Label Studio may still be importing.
            StudioRejected, StudioNotFound: see `Studio.import_predictions`.
        """
        try:
            self._context.studio.import_predictions(self._context.project_id, rows)
        except StudioUnreachable as error:
            if error.settled:
                raise
            write_json(self._marker, {"attempt": self._made, "cut_off": time.time()})
            raise StudioUnreachable(f"{error} {PROXY}") from error
