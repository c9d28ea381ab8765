"""The implementation of `python -m backend`: serve, doctor, rounds, versions, connect, export,
review, backup.

`backend.__main__` parses the command line and prints. These modules compute its output.
"""
