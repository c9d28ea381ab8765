"""Pool files larger than memory are read and written in bounded memory."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from taudis.data.pool_writer import PoolWriter
from taudis.types import Uncertainty
from tests.taudis.data.pool_cases import make_pool

ROOT = Path(__file__).resolve().parents[3]


MEASURE = """
import sys
from pathlib import Path
import numpy as np
from taudis.data.pool_writer import PoolWriter
from taudis.data.pool_reader import load_pool
from taudis.memmap import blocks

def peak():
    # not getrusage: its ru_maxrss goes on from that of the process that started this one
    status = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))

before, path = peak(), Path(sys.argv[1])
{work}
print(peak() - before)
"""
LOAD = """
pool = load_pool(path)
assert not any(rows.any() for _, rows in blocks(pool.instances.embeddings))
"""
COPY = """
pool = load_pool(path)
with PoolWriter(path.with_name("copy.safetensors")) as writer:
    writer.append(pool)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A file of over 200 MB: 200,000 instances with embeddings of 512 zeros, written in blocks."""
    path, n = tmp_path_factory.mktemp("large") / "pool.safetensors", 20_000
    small = make_pool(1, (1,), width=512)
    with PoolWriter(path) as writer:
        for block in range(10):
            ids, rows = np.array([block]), small.instances.filter(np.zeros(n, int))
            light = replace(rows, embeddings=np.zeros((n, 512), np.float16))
            measures = Uncertainty(*[np.zeros(n, np.float32)] * 3)
            writer.append(
                replace(
                    small, image_ids=ids, instances=light, uncertainty=measures,
                    mask_areas=np.ones(n, np.float32),
                )
            )  # fmt: skip
    yield path
    path.unlink()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("work", [LOAD, COPY], ids=["load", "copy"])
def test_a_large_file_is_read_and_written_in_bounded_memory(large, work):
    done = subprocess.run(
        [sys.executable, "-c", MEASURE.format(work=work), str(large)],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert large.stat().st_size > 200e6
    # 200,000 instances with 52 bytes each in memory, and a few blocks of 16 MB
    assert int(done.stdout) < 120e6, done.stdout
