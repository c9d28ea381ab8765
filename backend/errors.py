"""All exceptions that the backend raises on purpose, in one tree.

    BackendError
    ├── SettingsError      an environment variable that is missing or wrong
    ├── LabelConfigError   a labelling config that cannot be used
    ├── RegionError        one region that gives no mask
    ├── ImageError         one image that cannot be fetched or decoded
    ├── ImageGone          an image that the step has read and cannot read again now
    ├── StudioError        Label Studio answered badly or not at all
    │   ├── StudioUnreachable   no connection, timeout, 5xx after retries, no JSON
    │   │   └── PageTooLarge    a page of tasks that Label Studio may answer if it is smaller
    │   ├── StudioAuthError     401 or 403
    │   ├── StudioNotFound      404: the project or task is gone
    │   └── StudioRejected      another 4xx, with Label Studio's own reason
    ├── StoreError         the data directory or its database cannot be used
    │   └── DiskRefused         the disk takes no writes now; existing files are intact
    ├── LeaseLost          another worker took over; stop without writing
    ├── RoundWaits         a round that waits for another project's round
    ├── RoundStopped       a round that a person ended by disconnecting the project
    └── RoundError         a round that fails, with the reason for people

Every message has the expected value, the found value and a remedy. No message contains a token.
"""


class BackendError(Exception):
    """Base of the exceptions that the backend raises on purpose."""


class SettingsError(BackendError, ValueError):
    """An environment variable that is missing or has an unusable value."""


class LabelConfigError(BackendError, ValueError):
    """The project's labelling config cannot be used for instance segmentation."""


class RegionError(BackendError, ValueError):
    """One region gives no mask.

    `kind` is one of `backend.label_studio.regions.problems.KINDS`, under which it is counted.
    """

    def __init__(self, message: str, kind: str = "unreadable_shape") -> None:
        super().__init__(message)
        self.kind = kind


class ImageError(BackendError):
    """One image cannot be fetched or decoded. The other images are not affected."""


class ImageGone(BackendError):
    """An image that the step has read cannot be read again now. The round waits and goes on."""


class StudioError(BackendError):
    """Label Studio gave a bad answer or none."""


class StudioUnreachable(StudioError):
    """No connection, a timeout, 5xx and 429 after all retries, or a page that is not JSON.

    `settled`: Label Studio is known not to act on the request, now or later. Otherwise it may still
    be acting on it, as behind a proxy that ends answers after a time limit.
    `wait`: seconds that Label Studio, or a proxy, asked to wait before the next request.
    """

    def __init__(self, message: str, *, settled: bool = False, wait: float = 0.0) -> None:
        super().__init__(message)
        self.settled, self.wait = settled, wait


class PageTooLarge(StudioUnreachable):
    """A page of tasks was answered with 500 or 504 twice, or not in time.

    Args:
        message: for people.
        reason: the answer or its lack, in a few words.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class StudioAuthError(StudioError):
    """Label Studio refused the token (401) or the user behind it (403).

    The message is the fault with its remedy, which are also kept apart.
    """

    def __init__(self, fault: str, remedy: str = "") -> None:
        super().__init__(f"{fault} {remedy}".strip())
        self.fault, self.remedy = fault, remedy


class StudioNotFound(StudioError):
    """Label Studio does not have the project, task or other object."""


class StudioRejected(StudioError):
    """Label Studio refused the request with another 4xx; its reason is in the message."""


class StoreError(BackendError):
    """The data directory or its database cannot be used."""


class DiskRefused(StoreError):
    """The disk is full or read-only, so nothing was written. The work resumes when it has space."""


class LeaseLost(BackendError):
    """Another worker holds the lease now. This worker must write nothing more."""


class RoundWaits(BackendError):
    """A round's last step gives way to another project's round. The round stays open."""


class RoundStopped(BackendError):
    """A person disconnected the project while its round ran. The round ends, without a failure."""


class RoundError(BackendError):
    """A round or a command cannot continue. The message is shown to people."""
