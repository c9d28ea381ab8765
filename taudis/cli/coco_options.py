"""Options of the commands that read or write COCO files."""

from __future__ import annotations

from typing import Annotated

import typer

SkipBad = Annotated[
    bool,
    typer.Option(
        "--skip-bad",
        help="Leave out what cannot be used, and count it in the output and the card: the area in "
        "the box of an unusable object is ignored; an image with an unusable object without a box "
        "is left out.",
    ),
]
CrowdsOption = Annotated[
    str,
    typer.Option(
        "--crowds",
        help="What to do with objects of iscrowd 1: objects (train on them), ignore (COCO's "
        "meaning), or ask a person if they are many; without a terminal, ask refuses the file.",
    ),
]
SegmentationOption = Annotated[
    str,
    typer.Option(
        "--segmentation",
        help="Form of masks: rle (COCO tools read it) or polygon (for labelformat, sahi and Label "
        "Studio's importer; a bridge of no width joins a hole to the outline).",
    ),
]
