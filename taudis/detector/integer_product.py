"""PyTorch's matrix product of 8-bit integers, for the shortcut `taudis.selection.fast.rounded`.

numpy has no fast integer product. The selection must not import PyTorch, so the caller passes this
product to it (`taudis.selection.graph.using_integer_product`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from taudis.types import IntegerProduct

_INSTRUCTIONS = ("avx512_vnni", "avx_vnni", "amx_int8")
_LARGEST = 127


def fast_integer_product() -> IntegerProduct | None:
    """PyTorch's product of int8 matrices, if it is fast and exact on this processor, else None.

    It needs the processor's instructions for it, and oneDNN, which uses them. It is not exact if
    oneDNN is told not to use these instructions: then the largest numbers overflow.
    """
    known = torch.cpu.get_capabilities()
    fast = any(known.get(name) for name in _INSTRUCTIONS)
    one_dnn: Any = torch.backends.mkldnn
    if not (fast and one_dnn.is_available() and one_dnn.enabled and hasattr(torch, "_int_mm")):
        return None
    largest = np.full((32, 256), _LARGEST, np.int8)
    found = np.empty((32, 32), np.int32)
    _multiply(largest, -largest, found)
    return _multiply if (found == -256 * _LARGEST**2).all() else None


def _multiply(
    rows: npt.NDArray[np.int8], columns: npt.NDArray[np.int8], out: npt.NDArray[np.int32]
) -> None:
    one, other = torch.from_numpy(rows), torch.from_numpy(columns)
    torch._int_mm(one, other.T, out=torch.from_numpy(out))
