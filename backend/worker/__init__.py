"""The worker process does all slow work. Its entry is `worker`; `round` lists a round's steps."""
