"""The work behind `python -m backend`: serve, doctor, versions, connect, export.

`backend.__main__` parses the command line and prints; these modules compute what it prints.
"""
