"""The Label Studio ML backend: reads labels, runs rounds, orders the task queue.

Two processes share one store. The web process answers Label Studio within a second: it reads what
the worker published, and records events. The worker process trains, scores, selects and publishes.
docs/architecture.md follows one round through the files. A folder imports only what stands above
it; `web` and `worker` never import each other.

    settings, settings_table   environment variables
    model_settings, moved_settings   those of one model alone, and those of earlier builds
    errors, logs, process      messages, the log, priority and memory of a process
    clock                      spans of time that outlive a jump of the system's clock
    label_studio/  calls and formats of Label Studio: client, labelling config, regions, scores
    images/        images of tasks: their address, the download, the cache
    store/         the database: projects, events, rounds, versions; predictions files, tokens
    web/           the web process: /setup, /predict, /webhook, /versions, status page, metrics
    worker/        the worker process: triggers, then the steps of a round in their order
    commands/      `python -m backend`: serve, connect, doctor, versions, export

Read `worker/worker` (who does what), `worker/triggers` (when a round starts), `worker/round` (its
steps), then the steps: `sync`, `train`, `judge`, `score`, `select`, `publish`, `prune`. Then
`web/app` and `web/predict`.
"""
