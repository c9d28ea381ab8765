"""The Label Studio ML backend: reads labels, runs rounds, orders the task queue.

Two processes share one store. The web process answers Label Studio within a second: it reads what
the worker published, and records events. The worker process trains, scores, selects and publishes.
docs/architecture.md follows one round through the files. A folder imports only from the list above
it; `web` and `worker` never import each other.

    settings, settings_table   environment variables
    settings_errors            which of them cannot be used, in words
    similar_names              the name that a person probably meant
    model_settings, moved_settings   settings for one model only, and settings of earlier builds
    errors, logs, process      exceptions, the log, the memory of a process
    clock                      durations that do not depend on jumps of the system clock
    label_studio/  calls and formats of Label Studio: client, labelling config, regions, scores
    images/        images of tasks: addresses, download, cache
    store/         the database: projects, events, rounds, versions; predictions files, tokens
    web/           the web process: /setup, /predict, /webhook, /versions, status page, metrics
    worker/        the worker process: triggers, and the steps of a round
    commands/      `python -m backend`: serve, connect, doctor, versions, export

Read first `worker/worker` (the threads), `worker/triggers` (when a round starts), `worker/round`
(its steps), and the steps `sync`, `train`, `judge`, `score`, `select`, `publish`, `prune`. Then
read `web/app` and `web/predict`.
"""

import sys
from importlib.util import find_spec

if sys.argv[:1] == ["-m"] and find_spec("typer") is None:  # `python -m backend` begins here
    sys.exit(
        f"Expected a Python with the backend's packages, got {sys.executable}. In the backend's"
        " folder it is .venv/bin/python -m backend (`make install` makes it)."
    )
