"""Loads the image of a task from any kind of address that Label Studio supports.

    /data/upload/...                      an upload: from Label Studio, with its token
    /data/local-files/?d=...              a local file: from disk if this machine has it
    /tasks/7/resolve/?fileuri=...         cloud storage: Label Studio sends it or redirects
    s3://, gs://, azure-blob:// ...       cloud storage, requested by the task's id
    http://, https://                     Label Studio's origin (or its public address), or an
                                          allowed host
    data:image/png;base64,...             in the task itself

Everything else is refused. `backend.images.fetch` checks every address and redirect.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from backend.errors import ImageError
from backend.images.cache import FileCache
from backend.images.decode import Pixels, decode_image
from backend.images.fetch import Fetcher, ImageLimits
from backend.label_studio.addresses import (
    excerpt,
    is_data_address,
    origin_of,
    read_data_address,
)
from backend.settings import Settings

logger = logging.getLogger(__name__)

CLOUD_SCHEMES = ("s3://", "gs://", "azure-blob://", "azure_spi://", "redis://", "dbx://")
LOCAL_FILES = "/data/local-files/"
DEFAULT_CACHE_BYTES = 5_000_000_000


class ImageSource:
    """Loads images of one Label Studio, with a bounded cache on disk. Thread-safe.

    `auth` returns the headers that authorise a request. They are sent only to the origin (scheme,
    host, port) of `studio_url`.
    """

    def __init__(
        self,
        studio_url: str,
        auth: Callable[[], Mapping[str, str]],
        cache_dir: Path,
        limits: ImageLimits | None = None,
        *,
        max_cache_bytes: int = DEFAULT_CACHE_BYTES,
    ) -> None:
        self.limits = limits or ImageLimits()
        self.fetcher = Fetcher(studio_url.rstrip("/"), auth, self.limits)
        self.cache = FileCache(cache_dir, max_cache_bytes)

    def load(self, value: str, *, task: int | None = None, since: float = 0.0) -> Pixels:
        """The image at an address, RGB uint8 [H,W,3], as the annotator's browser shows it.

        `task` is the id of the image's task, needed only for bare cloud addresses. A cached file
        from before `since` (epoch seconds) is fetched again, because the image may have been
        replaced. If that fails, the cached file is used.

        Raises ImageError, with the beginning of the address, if the image may not be fetched,
        cannot be fetched, or cannot be decoded. Raises StudioUnreachable or StudioAuthError if
        Label Studio is down.
        """
        if not isinstance(value, str) or not value.strip():
            raise ImageError(f"Expected an image address (text), got {type(value).__name__}.")
        value = value.strip()
        try:
            return self._load(value, task, since)
        except ImageError as error:
            raise ImageError(f"{excerpt(value)}: {error}") from None

    def _load(self, value: str, task: int | None, since: float) -> Pixels:
        if is_data_address(value):
            return self._decode(read_data_address(value, self.limits.max_bytes))
        local = self._local(value)
        if local is not None:
            return self._decode(self._read(local))
        key = f"{self.fetcher.studio.geturl()}\n{value}"
        cached = self._cached(key, since)
        if cached is not None:
            return cached
        try:
            data = self.fetcher.get(self._address(value, task))
            pixels = self._decode(data)
        except ImageError as error:
            earlier = self._cached(key) if since else None
            if earlier is None:
                raise
            logger.warning("%s: the file fetched earlier is used: %s", excerpt(value), error)
            return earlier
        self.cache.put(key, data)
        return pixels

    def _cached(self, key: str, since: float = 0.0) -> Pixels | None:
        """The image of a cached file from `since` or later; None if there is none or it is bad."""
        data = self.cache.get(key, since)
        if data is None:
            return None
        try:
            return self._decode(data)
        except ImageError:
            self.cache.remove(key)
            return None

    def _decode(self, data: bytes) -> Pixels:
        return decode_image(data, self.limits.max_pixels)

    def _address(self, value: str, task: int | None) -> str:
        """The http address of the image, made from the address in the task."""
        studio = self.fetcher.studio
        if value.lower().startswith(CLOUD_SCHEMES):
            if task is None:
                raise ImageError(
                    "A cloud address needs Label Studio's resolver: read tasks with "
                    "resolve_uri=true, and connect the storage to the project as a source."
                )
            encoded = base64.urlsafe_b64encode(value.encode()).decode()
            return f"{studio.geturl().rstrip('/')}/tasks/{task}/resolve/?fileuri={encoded}"
        if value.startswith("/") and not value.startswith("//"):
            prefix = studio.path.rstrip("/")
            below = value if prefix and value.startswith(f"{prefix}/") else prefix + value
            return f"{studio.scheme}://{studio.netloc}{below}"
        return value

    # --- local files ----------------------------------------------------------------------------

    def _local(self, value: str) -> Path | None:
        """The local file of a /data/local-files/?d= address, if it is below `local_root`.

        None for another kind of address, without `local_root`, or if the file is not on this
        machine (Label Studio may have it). Raises ImageError if the path, or a symbolic link in it,
        leads outside the root.
        """
        root = self.limits.local_root
        if root is None:
            return None
        studio = self.fetcher.studio
        try:
            parts = self.fetcher.at_studio(urlsplit(value))
            if parts.scheme and origin_of(parts) != self.fetcher.studio_origin:
                return None
        except ValueError:  # an invalid port or bracket, which the fetch reports
            return None
        if parts.path.removeprefix(studio.path.rstrip("/")).rstrip("/") != LOCAL_FILES.rstrip("/"):
            return None
        inside = parse_qs(parts.query).get("d", [""])[0].lstrip("/")
        try:
            path = (root / inside).resolve()
            if not path.is_relative_to(root.resolve()):
                raise ImageError("The local file lies outside LOCAL_FILES_ROOT; it is not read.")
            return path if path.is_file() else None
        except (OSError, ValueError, RuntimeError) as error:
            raise ImageError(f"The local file's path is not usable ({error}).") from None

    def _read(self, path: Path) -> bytes:
        limit = self.limits.max_bytes
        try:
            with path.open("rb") as file:
                data = file.read(limit + 1)
        except OSError as error:
            raise ImageError(f"The local file cannot be read ({error.strerror}).") from None
        if len(data) > limit:
            raise ImageError(
                f"The local file is larger than {limit} bytes; scale it or raise MAX_IMAGE_BYTES."
            )
        return data


def image_source(
    settings: Settings, studio_url: str, auth: Callable[[], Mapping[str, str]]
) -> ImageSource:
    """The image source of one Label Studio, with the limits of the settings."""
    limits = ImageLimits(
        max_bytes=settings.max_image_bytes,
        max_pixels=settings.max_image_pixels,
        timeout_s=settings.image_timeout,
        allowed_hosts=settings.allowed_image_hosts,
        allow_private=settings.allow_private_image_hosts,
        local_root=settings.local_files_root,
        public_url=settings.label_studio_public_url,
    )
    cache = settings.model_dir / "cache" / "images"
    return ImageSource(studio_url, auth, cache, limits, max_cache_bytes=settings.cache_bytes)
