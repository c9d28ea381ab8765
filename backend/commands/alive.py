"""`python -m backend.commands.alive`: exit status 0 while a worker runs, for health checks.

It reads the lease in the data directory. It is separate from `python -m backend`, which imports too
many modules for a health check every minute.
"""

from __future__ import annotations

import sys
from contextlib import closing

from backend.errors import BackendError
from backend.settings import load_settings
from backend.store.database import Store


def main() -> int:
    """0 if a worker holds the lease of MODEL_DIR, else 1."""
    try:
        with closing(Store(load_settings().model_dir)) as store:
            alive = store.worker_alive()
    except BackendError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if not alive:
        sys.stderr.write("No worker runs on this data directory.\n")
    return 0 if alive else 1


if __name__ == "__main__":
    sys.exit(main())
