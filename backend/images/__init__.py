"""Images of tasks: addresses, download, cache, pixels. Read `source` first.

source   from a task's address to pixels
fetch    HTTP within limits
cache    files on disk
decode   from a file to pixels
"""
