"""The device on which models compute: a GPU, if this process has one."""

from __future__ import annotations

from typing import Literal

import torch

Device = Literal["cuda", "cpu"]


def device_of_this_process() -> Device:
    """'cuda' if PyTorch finds a GPU in this process, else 'cpu'.

    Training, scoring and evaluation use this device. 'cuda' is the first GPU that the process sees,
    so CUDA_VISIBLE_DEVICES chooses the GPU. An empty value hides all GPUs.
    """
    return "cuda" if torch.cuda.is_available() else "cpu"
