"""Every exception that the backend raises on purpose, in one tree.

    BackendError
    ├── SettingsError      an environment variable that is missing or wrong
    ├── LabelConfigError   a labelling config that cannot be used
    ├── RegionError        one region that makes no mask
    ├── ImageError         one image that cannot be fetched or decoded
    ├── StudioError        Label Studio answered badly or not at all
    │   ├── StudioUnreachable   no connection, timeout, 5xx after retries, no JSON
    │   │   └── PageTooLarge    a page of tasks that Label Studio may answer if it is smaller
    │   ├── StudioAuthError     401 or 403
    │   ├── StudioNotFound      404: the project or task is gone
    │   └── StudioRejected      another 4xx, with Label Studio's own reason
    ├── StoreError         the data directory or its database cannot be used
    │   └── DiskRefused         the disk takes no write now; what was there is intact
    ├── LeaseLost          another worker took over; stop without a trace
    └── RoundError         a round that cannot go on, with the reason to show

Every message says what was expected, what came, and what to do. No message carries a token.
"""


class BackendError(Exception):
    """Base of the exceptions that the backend raises on purpose."""


class SettingsError(BackendError, ValueError):
    """An environment variable that is missing or has an unusable value."""


class LabelConfigError(BackendError, ValueError):
    """The project's labelling config cannot be used for instance segmentation."""


class RegionError(BackendError, ValueError):
    """One region that makes no mask; the rest of its task is kept.

    `kind` is one of `backend.label_studio.regions.problems.KINDS`: what it is counted as.
    """

    def __init__(self, message: str, kind: str = "unreadable_shape") -> None:
        super().__init__(message)
        self.kind = kind


class ImageError(BackendError):
    """One image that cannot be fetched or decoded; the rest of the pool goes on."""


class StudioError(BackendError):
    """Label Studio's answer, or the lack of one, stops what was being done."""


class StudioUnreachable(StudioError):
    """No connection, a timeout, 5xx and 429 after all retries, or a page that is not JSON."""


class PageTooLarge(StudioUnreachable):
    """A page of tasks that was answered with 500 or 504 twice, or not in time.

    Args:
        message: for people.
        reason: what came, in a few words.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class StudioAuthError(StudioError):
    """Label Studio refused the token (401) or the user behind it (403)."""


class StudioNotFound(StudioError):
    """The project, task or other object is not there (any more)."""


class StudioRejected(StudioError):
    """Label Studio refused the request with another 4xx; its reason is in the message."""


class StoreError(BackendError):
    """The data directory or its database cannot be used."""


class DiskRefused(StoreError):
    """The disk is full or read-only: nothing was written. The work goes on when it takes writes."""


class LeaseLost(BackendError):
    """Another worker holds this round now; nothing more may be written for it."""


class RoundWaits(BackendError):
    """A round's last step gives way to another project's round. The round stays open."""


class RoundError(BackendError):
    """A round cannot go on; the message is shown to the data lead."""
