"""Where models compute: on the card of this process, where it has one."""

from __future__ import annotations

from typing import Literal

import torch

Device = Literal["cuda", "cpu"]


def device_of_this_process() -> Device:
    """'cuda' where PyTorch sees a GPU in this process, else 'cpu'.

    For all that computes many images: training, scoring, evaluation. 'cuda' is the first card that
    the process sees, so CUDA_VISIBLE_DEVICES chooses the card, and hides all of them if it is
    empty.
    """
    return "cuda" if torch.cuda.is_available() else "cpu"
