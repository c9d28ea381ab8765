"""A driver of its own process, for a test that kills it: ADDRESS FOLDER IMAGES."""

import sys
from pathlib import Path

from taudis.distributed.cluster import connected
from taudis.distributed.score_parts import score_parts
from tests.taudis.distributed.ray_cases import WaitingPath, make_set, with_path, work_in

if __name__ == "__main__":
    folder, count = Path(sys.argv[2]), int(sys.argv[3])
    samples, model = make_set(folder, count)
    with connected(sys.argv[1]) as cluster:
        slow = with_path(samples, count - 1, WaitingPath)
        score_parts(cluster, work_in(folder, model), slow, actors=1, size=4)
