"""The errors that the library raises.

    TaudisError
    ├── DataError        arrays of the wrong shape, type or range; broken COCO and image files
    │   ├── ImageTooLarge    an image with more pixels than the limit
    │   ├── ImageNotRead     an image whose file is missing, or that the disk does not give
    │   └── ClusterError     a ray cluster that does not answer, has no place, or fails
    ├── SelectionError   parameters or pools that a query strategy cannot work with
    ├── TrainingError    training that cannot start, or that diverged
    │   └── TrainingStopped  training that was asked to stop; its state is kept
    ├── WeightsError     initial weights that cannot be read or downloaded
    ├── CheckpointError  a checkpoint that is missing, damaged, or made for other labels
    ├── ExportError      a model that cannot be written in another format
    └── PackageError     an optional package that is not installed

Every message says what the library expected, what it got, and what a person can do.
"""


class TaudisError(Exception):
    """Base of everything this library raises on purpose."""


class DataError(TaudisError, ValueError):
    """Input arrays or files that do not fit the documented shape, type or range."""


class ImageTooLarge(DataError):
    """An image of `width` x `height` px, which are more than `limit` px; nothing was decoded."""

    def __init__(self, width: int, height: int, limit: int, where: str = "") -> None:
        super().__init__(
            f"{where}expected at most {limit} pixels, got {width} x {height}. Scale the image down."
        )
        self.width, self.height, self.limit = width, height, limit


class ImageNotRead(DataError):
    """An image whose file is missing, or that the disk does not give: the place is at fault."""


class ClusterError(DataError):
    """A ray cluster that does not answer, has no place for a process, or whose processes die."""


class SelectionError(TaudisError, ValueError):
    """A query strategy's parameters or pool are not usable."""


class TrainingError(TaudisError, RuntimeError):
    """Training cannot start with this data, or its loss is no longer finite."""


class TrainingStopped(TrainingError):
    """Training was stopped by its caller before the last step; it can go on later."""


class WeightsError(TaudisError, RuntimeError):
    """The initial weights that the configuration names cannot be read or downloaded."""


class CheckpointError(TaudisError, RuntimeError):
    """A checkpoint that is missing, damaged, or does not belong to this label map."""


class ExportError(TaudisError, RuntimeError):
    """A model cannot be written in another format, or gives other detections there."""


class PackageError(TaudisError, ImportError):
    """An optional package that this model needs is not installed."""
