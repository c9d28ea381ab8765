"""The work behind `python -m backend`: serve, doctor, rounds, versions, connect, export,
review, backup.

`backend.__main__` parses the command line and prints; these modules compute what it prints.
"""
