"""Trains without end on all cores with the worker's priority; says so once it is under way."""

import os

import torch

from backend.process import limit_memory, lower_priority
from backend.settings import Settings
from taudis.training.recipes import Recipe
from taudis.training.train import train
from tests.taudis.detector_cases import LABELS, Pictures

if __name__ == "__main__":
    lower_priority(Settings().nice)
    torch.set_num_threads(os.cpu_count() or 1)
    limit_memory(training=True)
    began = []

    def say(progress):
        if not began:
            began.append(print("training", flush=True))

    train(
        Pictures(16), LABELS, Recipe(name="busy", steps=10**6), seed=0, weights="none", progress=say
    )
