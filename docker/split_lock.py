"""Divide requirements.txt for an image with PyTorch's CPU build: split_lock.py LOCK REST TORCH.

The lock has PyTorch as the usual index has it, for CUDA, with the hashes of those files. The CPU
build of the same version has other files. REST gets everything that both have in common, with its
hashes. TORCH gets the versions of torch and torchvision. What only CUDA needs goes nowhere.
"""

import re
import sys
from pathlib import Path

TORCH = ("torch", "torchvision")
CUDA = re.compile(r"nvidia-|cuda-|triton$")


def blocks(lock: str) -> dict[str, str]:
    """Name of a package -> its lines in the lock."""
    parts = re.split(r"^(?=[a-zA-Z0-9])", lock, flags=re.M)
    return {re.split(r"[=<>\s;\[]", part, maxsplit=1)[0]: part for part in parts if part.strip()}


def split(lock: str) -> tuple[str, str]:
    """The lines with hashes of what is installed as it is, and `torch==..., torchvision==...`."""
    found = blocks(lock)
    rest = [part for name, part in found.items() if name not in TORCH and not CUDA.match(name)]
    versions = [re.split(r"[\s;]", found[name], maxsplit=1)[0] for name in TORCH]
    return "".join(rest), "\n".join(versions) + "\n"


if __name__ == "__main__":
    lock, *targets = map(Path, sys.argv[1:])
    for target, text in zip(targets, split(lock.read_text()), strict=True):
        target.write_text(text)
