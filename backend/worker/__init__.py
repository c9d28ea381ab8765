"""The worker process: all that takes minutes. `worker` starts it, `round` lists its steps."""
