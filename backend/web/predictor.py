"""Predictions on the spot: the web process starts, asks and replaces one small process.

That process (`backend.web.predictor_process`) starts on first use. It loads a checkpoint, reads one
image and answers with its regions. It never trains, holds at most two models and uses one thread.
It ends when it is idle or the web process is gone. It is replaced when it dies, hangs, or grows
beyond `MAX_BYTES`. Of the two processes, only this one imports torch.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import psutil

from backend.errors import BackendError
from backend.settings import Settings
from backend.web.messages import Job, PredictedRegions

logger = logging.getLogger(__name__)

MAX_WAITING = 8  # waiting requests; any further request is refused at once
MAX_BYTES = 4_000_000_000  # resident memory beyond which the process is replaced
IDLE_SECONDS = 600.0  # after this time without work the process ends


class PredictorUnavailable(BackendError):
    """No answer for now: busy, too slow, or the process died. A later request may succeed."""


def _start(connection: Connection, settings: Settings) -> None:
    """Entry point of the prediction process, which imports torch."""
    from backend.web.predictor_process import serve

    serve(connection, settings, IDLE_SECONDS)


class Predictor:
    """Starts, asks, watches and replaces the process, from the web process. Thread-safe."""

    def __init__(
        self,
        settings: Settings,
        target: Callable[[Connection, Settings], None] = _start,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._settings, self._target, self._max_bytes = settings, target, max_bytes
        self._places = threading.BoundedSemaphore(MAX_WAITING)
        self._turn = threading.Lock()
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None

    @property
    def pid(self) -> int | None:
        """The id of the process; None while there is none."""
        process = self._process
        return process.pid if process is not None and process.is_alive() else None

    def predict(self, job: Job, timeout: float) -> PredictedRegions:
        """The answer within `timeout` seconds, including the wait for other requests.

        Raises:
            PredictorUnavailable: too many requests wait, the time is up, or the process died.
        """
        deadline = time.monotonic() + timeout
        with self._place(deadline):
            try:
                return self._ask(job, deadline)
            except (EOFError, OSError) as error:
                self._end()
                raise PredictorUnavailable(
                    f"The prediction process died ({type(error).__name__}); the next request starts"
                    " a new one. Out of memory is the usual cause."
                ) from error

    def close(self) -> None:
        """End the process."""
        with self._turn:
            self._end()

    @contextlib.contextmanager
    def _place(self, deadline: float) -> Iterator[None]:
        """Wait for the other requests, then hold the process until the block ends."""
        if not self._places.acquire(blocking=False):
            raise PredictorUnavailable(f"{MAX_WAITING} predictions are waiting already.")
        try:
            if not self._turn.acquire(timeout=max(0.0, deadline - time.monotonic())):
                raise PredictorUnavailable("Other predictions used up the time limit.")
            try:
                yield
            finally:
                self._turn.release()
        finally:
            self._places.release()

    def _ask(self, job: Job, deadline: float) -> PredictedRegions:
        """Send the job and wait for its answer. Ends a process that is too slow."""
        pipe = self._running()
        pipe.send(job)
        if not pipe.poll(max(0.0, deadline - time.monotonic())):
            self._end()
            raise PredictorUnavailable("The prediction took too long and was stopped.")
        answer = pipe.recv()
        self._limit_memory()
        if not isinstance(answer, PredictedRegions):
            raise PredictorUnavailable("The prediction process failed; the log has the details.")
        return answer

    def _running(self) -> Connection:
        """The pipe to the process. Starts one if none is alive."""
        if self._pipe is not None and self.pid is not None:
            return self._pipe
        self._end()
        context = multiprocessing.get_context("spawn")  # torch does not survive a fork
        ours, theirs = context.Pipe()
        process = context.Process(
            target=self._target, args=(theirs, self._settings), name="predictor", daemon=True
        )
        process.start()
        theirs.close()
        self._process, self._pipe = process, ours
        return ours

    def _limit_memory(self) -> None:
        """End a process that has grown too large. The next request starts another."""
        try:
            used = psutil.Process(self.pid).memory_info().rss if self.pid else 0
        except psutil.NoSuchProcess:
            return
        if used > self._max_bytes:
            logger.warning("The prediction process used %d MB and is replaced", used // 1_000_000)
            self._end()

    def _end(self) -> None:
        """Stop the process, if there is one."""
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.kill()  # it has no data to lose
            self._process.join(5)
        self._process = self._pipe = None
