"""Images of tasks: where they come from, the download, the cache."""
