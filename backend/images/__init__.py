"""Images of tasks: their address, the download, the cache, the pixels. Start with `source`.

source   from a task's address to pixels
fetch    HTTP within limits
cache    files on disk
decode   from a file to pixels
"""
