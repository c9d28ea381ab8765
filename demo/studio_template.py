"""The environment variables of a Label Studio process, and its migrated data directory.

The migrations of a fresh data directory take about 20 s. They run once, in a template folder, from
which every later fresh directory is copied.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from demo.errors import DemoError

FAST_IMPORT_FLAG = "fflag_fix_back_4620_memory_efficient_predictions_import_08012025_short"
"""Feature flag under which importing predictions does not recount the whole project."""


def environment_of(data: Path, legacy_tokens: bool, fast_import: bool) -> dict[str, str]:
    """The complete environment of the process. Of the caller's variables, only `kept` is passed on.

    Args:
        data: data directory of Label Studio.
        legacy_tokens: whether `Authorization: Token` is allowed.
        fast_import: switch on FAST_IMPORT_FLAG.
    """
    kept = ("PATH", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment |= {
        "HOME": str(data),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
        "LABEL_STUDIO_BASE_DATA_DIR": str(data),
        "SSRF_PROTECTION_ENABLED": "false",
        "ML_BLOCK_LOCAL_IP": "false",
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": str(legacy_tokens).lower(),
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
        "COLLECT_ANALYTICS": "False",
        "LATEST_VERSION_CHECK": "False",
        # If it is unset, Label Studio serves files of a folder `mydata` where it starts.
        "LOCAL_FILES_SERVING_ENABLED": "false",
    }
    return environment | ({FAST_IMPORT_FLAG: "true"} if fast_import else {})


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file, so that parallel test runs make one template."""
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def migrated(executable: Path, cache: Path) -> Path:
    """The template folder of this Label Studio version; the migrations run at the first call.

    Args:
        executable: `label-studio` of its virtual environment.
        cache: folder of the templates, one per version.

    Raises:
        DemoError: the migrations failed.
    """
    packages = executable.parent.parent.glob("lib/python*/site-packages")
    found = [info.name for folder in packages for info in folder.glob("label_studio-*.dist-info")]
    ready = cache.absolute() / (found[0].removesuffix(".dist-info") if found else "unknown")
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / ".lock"):
        if not ready.exists():
            work = Path(tempfile.mkdtemp(dir=cache))
            _migrate(executable, work)
            work.rename(ready)
    return ready


def _migrate(executable: Path, data: Path) -> None:
    """Run the migrations in an empty folder, by `label-studio version`.

    Every command of label-studio migrates first. This command then prints the version and ends.
    """
    done = subprocess.run(
        [str(executable), "version"],
        cwd=data,
        env=environment_of(data, legacy_tokens=True, fast_import=False),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=600,
        check=False,
    )
    if done.returncode:
        raise DemoError(f"label-studio could not migrate:\n{done.stderr.decode()[-1500:]}")
