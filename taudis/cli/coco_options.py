"""Options of the commands that read or write COCO files."""

from __future__ import annotations

from typing import Annotated

import typer

SkipBad = Annotated[
    bool,
    typer.Option(
        "--skip-bad",
        help="Go on without what cannot be used, counted in the output and the card: an object "
        "with a box is ignored there, an image with another unusable object is left out.",
    ),
]
CrowdsOption = Annotated[
    str,
    typer.Option(
        "--crowds",
        help="Objects of iscrowd 1: objects (train on them), ignore (COCO's meaning), or ask where "
        "they are many; without a terminal, ask refuses.",
    ),
]
SegmentationOption = Annotated[
    str,
    typer.Option(
        "--segmentation",
        help="How masks are written: rle (what COCO tools read) or polygon (for labelformat, sahi, "
        "Label Studio's importer; a hole is cut open by a bridge of no width).",
    ),
]
