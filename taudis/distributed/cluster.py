"""Connects to a ray cluster, or starts a cluster on this machine.

Ray is an optional dependency (the extra `ray`), so it is imported only when needed. A cluster that
is started here has no dashboard and sends no usage statistics. It listens on all addresses, as ray
always does, and requires a token (ray's default for clusters that a process starts).
"""

from __future__ import annotations

import logging
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taudis.errors import ClusterError, DataError, TaudisError

if TYPE_CHECKING:
    from taudis.detector.device import Device

logger = logging.getLogger(__name__)

LOCAL = "local"
"""The address that starts a cluster on this machine; the cluster ends with the process."""
STORE_BYTES = 200_000_000
"""Shared memory of a cluster that is started here. It is for the vectors of the candidates (13 MB
in float16 for C = 25,000 and D = 256) and the bits of two tasks per core, 8 MB each. If it is full,
ray writes to the disk."""

ANSWER_SECONDS = 10.0
"""Seconds for the head of a cluster to accept a connection."""


def import_ray() -> Any:
    """The module ray. Raises ClusterError if it is not installed."""
    try:
        import ray
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise ClusterError(
            "ray: expected the package ray, it is not installed. Install it with"
            " pip install 'taudis-label-studio[ray]'."
        ) from None
    return ray


@dataclass(frozen=True)
class Cluster:
    """A connected cluster."""

    ray: Any  # the module
    cpus: int
    gpus: int

    def actors(self, wanted: int | None, device: Device = "cuda") -> tuple[int, dict[str, float]]:
        """(number of actors, ray's resources for each).

        wanted: the number; None: one per GPU, or one per core without GPUs. device: 'cpu' for work
        that must not run on a GPU; each actor then has a core and no GPU.
        """
        if wanted is not None and wanted < 1:
            raise DataError(f"actors: expected 1 or more, got {wanted}.")
        if self.gpus and device == "cuda":
            return wanted or self.gpus, {"num_cpus": 1, "num_gpus": 1}
        return wanted or max(1, self.cpus), {"num_cpus": 1}

    @property
    def deaths(self) -> tuple[type[Exception], ...]:
        """Ray's errors for a process that ended, or an answer that was lost with a node."""
        known = self.ray.exceptions
        return (
            known.RayActorError,  # also for an actor that cannot be reached
            known.NodeDiedError,
            known.WorkerCrashedError,
            known.OutOfMemoryError,  # ray ended the process, because the node's memory was full
            known.ObjectLostError,
        )

    def answer(self, reference: Any) -> Any:
        """The return value of a call.

        Raises the error of the call, if it is a TaudisError or an OSError, without ray's traceback;
        ray's errors in `deaths`; and ClusterError for all others.
        """
        known = self.ray.exceptions
        try:
            return self.ray.get(reference)
        except known.RayTaskError as error:
            if isinstance(error.cause, TaudisError | OSError):
                raise error.cause from None
            raise ClusterError(f"ray: a call failed on a node: {error}") from error
        except self.deaths:
            raise
        except known.RayError as error:
            raise _cluster_error(error) from error

    def result(self, reference: Any) -> Any:
        """The return value of a task, like `answer`. Raises ClusterError also for a death.

        Ray repeats a task after a death, as often as the task's options allow.
        """
        try:
            return self.answer(reference)
        except self.deaths as error:
            raise _cluster_error(error) from error


def device_of_this_actor() -> Device:
    """'cuda' in an actor to which ray gave a GPU, 'cpu' in every other process.

    Ray hides other GPUs from an actor with a GPU, but none from an actor without a GPU (unless
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO is 1). So it is not enough that PyTorch finds a GPU.
    """
    from taudis.detector.device import device_of_this_process  # imports torch

    ray = import_ray()
    if not (ray.is_initialized() and ray.get_runtime_context().get_accelerator_ids().get("GPU")):
        return "cpu"
    device = device_of_this_process()
    if device == "cpu":
        logger.warning("ray gave this actor a GPU, PyTorch sees none: it computes on the CPU.")
    return device


def _cluster_error(error: Exception) -> ClusterError:
    """A ClusterError for an error of ray."""
    return ClusterError(
        f"ray: {type(error).__name__}: {error} Look at the memory and the disks of the nodes and at"
        " ray's logs (/tmp/ray/session_latest/logs on each), then run the command again."
    )


@contextmanager
def connected(address: str, *, cpus: int | None = None) -> Iterator[Cluster]:
    """A connection to a cluster. An existing connection of this process is reused.

    address: HOST:PORT; `auto`: the cluster that runs on this machine; `local`: a new cluster on
    this machine, with `cpus` cores (None: all). Raises ClusterError without the package ray, if
    nothing answers, and for every error of ray in the `with` block.
    """
    ray = import_ray()
    existing = ray.is_initialized()
    if not existing:
        _check_answers(address)
        own: dict[str, Any] = {}
        if address == LOCAL:
            own = {
                "num_cpus": cpus,
                "include_dashboard": False,
                "object_store_memory": STORE_BYTES,
            }
        # Nodes without this package import it from the folder of this process's package.
        job = ray.job_config.JobConfig(_py_driver_sys_path=[str(Path(__file__).parents[2])])
        own |= {"job_config": job}
        try:
            ray.init(address, logging_level=logging.WARNING, log_to_driver=False, **own)
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise ClusterError(
                f"ray: expected a cluster at {address!r}: {error}. `ray start --head` starts one;"
                f" {LOCAL!r} starts one for this command alone."
            ) from error
    try:
        found = ray.cluster_resources()
        yield Cluster(ray, int(found.get("CPU", 0)), int(found.get("GPU", 0)))
    except ray.exceptions.RayError as error:
        raise _cluster_error(error) from error
    finally:
        if not existing:
            ray.shutdown()


def _check_answers(address: str) -> None:
    """Raise ClusterError if nothing listens at HOST:PORT. Ray would retry for minutes."""
    host, colon, port = address.rpartition(":")
    if not (colon and port.isdecimal()):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"ray: expected a cluster at {address!r}: {error}. Start it, or give another address."
        ) from error


def peak_memory(process: int | str = "self") -> int:
    """The largest memory of a process since its program started, bytes.

    It is read from /proc if possible, because `getrusage` includes the memory of the program that
    started this one. 0 for another process that has ended.
    """
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    own = process == "self"
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 if own else 0
