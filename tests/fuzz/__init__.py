"""Malformed input to the real parts: requests, files, regions, configs, addresses; and secrets.

Everything random comes from a seed, so that a failure can be run again. The short forms run in
`make test`, the full ones in `make torture` (`tests/reliability`). No test holds an input that
breaks other people's software: our own guards are tested with lowered limits.
"""
