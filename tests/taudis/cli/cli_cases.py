"""Calls, queries and reasons that the tests of the command line share."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from taudis.__main__ import app
from taudis.cli.why import ChosenInstance, Why
from taudis.selection.params import SelectionParams
from taudis.selection.strategies import query

MEAN = 4.0


def run(*arguments):
    """The outcome of `python -m taudis` with these arguments."""
    return CliRunner().invoke(app, list(map(str, arguments)))


def call(*arguments):
    """The JSON line that a command ends with; it must succeed."""
    done = run(*arguments)
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout.splitlines()[-1])


def asked(pool, strategy="taudis", budget=4, *, labelled, seed=0, **params):
    """The selection that a command with these arguments is to give."""
    return query(
        strategy,
        pool,
        budget=budget,
        labelled=labelled,
        params=SelectionParams(**params),
        seed=seed,
    )


def detected(pool):
    """Confident detections an image, as the command counts them without `--mean-instances`."""
    return float((pool.instances.scores >= 0.5).sum() / len(pool))


def instance(gain=10, layer=0, label=1, **more):
    """A chosen instance of image 7."""
    usual = {"row": 0, "image_id": 7, "number": 0, "score": 0.5, "box": (10.0, 20.0, 30.0, 60.0),
            "uncertainty": 0.51234}  # fmt: skip
    return ChosenInstance(**(usual | {"gain": gain, "layer": layer, "label": label} | more))


def reason(*chosen, neighbours=(), measure="se"):
    """Why image 7 has rank 2."""
    return Why(2, 7, 1.0, tuple(chosen), tuple(neighbours), "the reason", measure)
