"""The errors that the library raises.

    TaudisError
    ├── DataError        arrays of the wrong shape, type or range; broken COCO and image files
    │   ├── ImageTooLarge    an image with more pixels than the limit
    │   ├── ImageNotRead     an image whose file is missing or cannot be read from the disk
    │   └── ClusterError     a ray cluster that does not answer, has no free place, or fails
    ├── SelectionError   parameters or pools that a query strategy does not support
    ├── TrainingError    training that cannot start, or that diverged
    │   └── TrainingStopped  training that was stopped on request; its state is kept
    ├── WeightsError     initial weights that cannot be read or downloaded
    ├── CheckpointError  a checkpoint that is missing, damaged, or made for other labels
    ├── ExportError      a model that cannot be written in another format
    └── PackageError     an optional package that is not installed

Every message says what was expected, what was found, and what the user can do.
"""


class TaudisError(Exception):
    """Base class of all errors that this library raises on purpose."""


class DataError(TaudisError, ValueError):
    """Input arrays or files that do not fit the documented shape, type or range."""


class ImageTooLarge(DataError):
    """An image of `width` x `height` px has more than `limit` px; it was not decoded."""

    def __init__(self, width: int, height: int, limit: int, where: str = "") -> None:
        super().__init__(
            f"{where}expected at most {limit} pixels, got {width} x {height}. Scale the image down."
        )
        self.width, self.height, self.limit = width, height, limit


class ImageNotRead(DataError):
    """An image file is missing or cannot be read from the disk; the image itself may be good."""


class ClusterError(DataError):
    """A ray cluster does not answer, has no free place for a process, or its processes die."""


class SelectionError(TaudisError, ValueError):
    """A query strategy's parameters or pool are not usable."""


class TrainingError(TaudisError, RuntimeError):
    """Training cannot start with this data, or its loss is no longer finite."""


class TrainingStopped(TrainingError):
    """The caller stopped a training before its last step; it can continue later."""


class WeightsError(TaudisError, RuntimeError):
    """The configured initial weights cannot be read or downloaded."""


class CheckpointError(TaudisError, RuntimeError):
    """A checkpoint is missing, damaged, or made for another label map."""


class ExportError(TaudisError, RuntimeError):
    """A model cannot be exported to another format, or gives other detections in it."""


class PackageError(TaudisError, ImportError):
    """An optional package that this model needs is not installed."""
