"""Atomic writes that are killed at every line of `taudis.files`, each in a process of its own.

    python -m tests.taudis.killed_writes KIND PATH

writes the new content to PATH again and again: the n-th child kills itself before the n-th line of
`taudis.files` or of `fill` that it runs, until a child runs out of lines. Before each child, PATH
holds the old content. Each child costs one line of standard output: what PATH held after it, "old",
"new", or whatever else was found. The last line is "done". This process only imports and forks, so
that a child costs no import.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sys
from pathlib import Path

from taudis import files

OLD, NEW = "old " * 3000, "new " * 5000


def fill(folder, text):
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text(text)


def write(kind, path, text):
    """Write `text` as a file, or as both files of a folder."""
    if kind == "file":
        files.write_text(path, text)
    elif kind == "json":
        files.write_json(path, text)
    elif kind == "folder":
        with files.draft_folder(path, replace=True) as draft:
            fill(draft, text)
    else:
        files.write_sealed(path, lambda draft: fill(draft, text))


def found(path):
    """ "old" or "new" where the content is whole, else what is wrong with it."""
    if not path.exists():
        return "nothing"
    parts = sorted(path.glob("*.txt")) if path.is_dir() else [path]
    if path.is_dir() and len(parts) != 2:
        return f"{len(parts)} files"
    texts = {part.read_text().strip('"') for part in parts}
    if (path / files.SUMS).exists():
        files.verify_sealed(path, ("a.txt", "b.txt"))
    return {OLD: "old", NEW: "new"}.get(texts.pop(), "a part") if len(texts) == 1 else "a mixture"


def kill_before(line):
    """Make this process kill itself before the `line`-th line that it runs of the two files."""
    seen = itertools.count()

    def trace(frame, event, _):
        if frame.f_code.co_filename not in (files.__file__, __file__):
            return None
        if event == "line" and next(seen) == line:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


def main(kind, path):
    for line in itertools.count():
        if path.is_dir():
            shutil.rmtree(path)
        write(kind, path, OLD)
        child = os.fork()
        if child == 0:
            kill_before(line)
            write(kind, path, NEW)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(found(path), flush=True)
        if os.waitstatus_to_exitcode(status) == 0:
            print("done", flush=True)
            return


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
