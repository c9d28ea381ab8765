"""The cache of image files on disk."""

import os
import threading

from backend.images.cache import FileCache
from backend.images.fetch import ImageLimits
from backend.images.source import ImageSource
from tests.backend.images.servers import (
    RED,
    is_red,
)  # fmt: skip


def test_the_cache_is_bounded_and_drops_the_longest_unused(tmp_path):
    cache = FileCache(tmp_path / "c", 1000)
    for key in range(20):
        cache.put(str(key), bytes(100))
        os.utime(cache._path(str(key)), (key, key))
    kept = [key for key in range(20) if cache.get(str(key)) is not None]
    assert 8 <= len(kept) <= 10 and kept == list(range(20 - len(kept), 20))
    cache.put("huge", bytes(2000))
    assert cache.get("huge") is None
    assert not [path for path in (tmp_path / "c").iterdir() if path.name.startswith(".new")]


def test_the_time_of_putting_outlives_a_use(tmp_path):
    cache = FileCache(tmp_path / "c", 1000)
    cache.put("a", b"bytes")
    os.utime(cache._path("a"), (1000, 1000))
    assert cache.get("a", since=1000) == b"bytes"
    status = cache._path("a").stat()
    assert status.st_mtime == 1000 and status.st_atime > 1e9
    assert cache.get("a", since=1001) is None and cache.get("a") == b"bytes"


def test_a_damaged_cache_entry_is_fetched_again(studio, source):
    images = source()
    images.load("/data/upload/1/red.png")
    (entry,) = images.cache.folder.iterdir()
    entry.write_bytes(RED[:30])
    assert is_red(images.load("/data/upload/1/red.png"))
    assert entry.read_bytes() == RED and len(studio.seen) == 2


def test_a_cache_that_cannot_be_written_costs_only_a_warning(studio, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    images = ImageSource(studio.url, dict, tmp_path / "file" / "cache", ImageLimits())
    assert is_red(images.load("/data/upload/1/red.png"))
    assert "cannot be written" in caplog.text


def test_many_threads_share_one_source(studio, source):
    images, results = source(), []
    threads = [
        threading.Thread(target=lambda: results.append(images.load("/data/upload/1/red.png")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8 and all(map(is_red, results))
