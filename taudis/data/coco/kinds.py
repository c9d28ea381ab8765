"""The kinds of unusual and unusable records in COCO files: name, description and treatment.

The check, the checkpoint's card and docs/coco.md use this table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

Effect = Literal["read", "left out", "bad", "refused"]
EFFECTS: dict[Effect, str] = {
    "read": "read, and reported",
    "left out": "left out and counted",
    "bad": "refused; left out with --skip-bad",
    "refused": "refused",
}
EXAMPLES = 3
"""Number of examples that are kept for each kind."""


@dataclass(frozen=True)
class Kind:
    """A kind: its treatment, and its description in messages."""

    effect: Effect
    says: str  # description, which follows a number
    remedy: str = ""  # a sentence for the user


KINDS: dict[str, Kind] = {
    # the file
    "encoding": Kind("read", "file in another encoding than plain UTF-8 (a byte order mark)"),
    # images
    "elsewhere": Kind("read", "images found under another path than the file gives"),
    "picture_size": Kind("read", "images without a size in the file: taken from the picture"),
    "turned": Kind(
        "read", "pictures that EXIF turns or mirrors: masks are taken to fit the turned picture"
    ),
    "same_file": Kind(
        "read",
        "images listed more than once under several ids",
        "Each trains with its own annotations alone: join them if they are one image's.",
    ),
    "text_id": Kind("read", "image ids that are text or beyond 64 bits: numbered by their place"),
    "federated": Kind(
        "read",
        "images with neg_category_ids (LVIS), where other objects may be unlabelled",
        "What is unlabelled trains as background.",
    ),
    "no_object": Kind("read", "images without an object: `train` takes them as background"),
    # categories
    "merged": Kind("read", "categories of a name that another one has: merged"),
    "unused": Kind(
        "read", "categories without an annotation: they are labels that nothing trains yet"
    ),
    # annotations
    "text_number": Kind("read", "records with numbers given as text"),
    "nested": Kind("read", "segmentations nested otherwise than COCO's [[x1, y1, x2, y2, ...]]"),
    "box_mask": Kind("read", "objects with a box and no mask: the box is the mask"),
    "bad_box": Kind("read", "boxes that are not [x, y, width, height]: the mask decides"),
    "area_off": Kind("read", "areas that differ from the mask's: the mask decides"),
    "beyond": Kind("read", "masks that reach beyond the image: cut at its edge"),
    "ids": Kind("read", "annotation ids that are missing or used twice: they are not needed"),
    "doubled": Kind("read", "objects given twice (image, category and segmentation alike): kept"),
    "keypoints": Kind("read", "annotations with keypoints: these are not read"),
    "crowds": Kind("read", "crowds (iscrowd 1): ignored in training and evaluation, as in COCO"),
    "crowds_as_objects": Kind("read", "crowds (iscrowd 1) read as objects"),
    "unlisted": Kind("left out", "annotations of images that the file does not list"),
    "no_pixel": Kind("left out", "objects whose mask covers no pixel"),
    "short_part": Kind("left out", "masks with parts of fewer than three points: these parts"),
    "bad_image": Kind("bad", "image records without a usable id or file name, or far too large"),
    "no_size": Kind(
        "bad", "images without a size in the file or a picture", "Give the folder of the images."
    ),
    "doubled_image": Kind("bad", "images whose id another one has"),
    "missing": Kind("bad", "images whose file is not there", "Look at IMAGES and the file names."),
    "ambiguous": Kind(
        "bad", "images of different folders found by one base name", "Keep the folders in IMAGES."
    ),
    "undecodable": Kind("bad", "images whose file cannot be decoded"),
    "other_size": Kind("bad", "pictures of another size than the file says"),
    "exif": Kind(
        "bad",
        "pictures that EXIF turns, while the file has the size (and masks) before turning",
        "Remove the orientation tag or save the pictures turned, then export again.",
    ),
    "bad_record": Kind("bad", "annotations that are no usable record"),
    "unknown_category": Kind("bad", "annotations of a category that the file does not list"),
    "bad_crowd": Kind("bad", "annotations whose iscrowd is neither 0 nor 1"),
    "bad_mask": Kind("bad", "annotations whose segmentation is none for their image"),
    "lost_mask": Kind(
        "bad",
        "objects without a segmentation whose area is below their box's: the mask was lost",
        "Export again with masks or polygons.",
    ),
    # the whole file
    "fractions": Kind(
        "refused",
        "objects with coordinates in 0..1, where COCO has px",
        "Multiply x by the image's width and y by its height.",
    ),
    "pixelless": Kind(
        "refused",
        "objects, most of the file, have no pixel in their image",
        "The coordinates are not px, or the sizes are not the images'.",
    ),
    "category_ids": Kind("refused", "category ids given to several names"),
    "bad_category": Kind("refused", "category records without a usable id or name"),
    "nothing": Kind("refused", "object to train on"),
}


class Findings:
    """Counts by kind, with the first examples of each."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.examples: dict[str, list[str]] = {}

    def add(self, kind: str, example: str = "", count: int = 1) -> None:
        """Count a kind `count` times. example: the place or the reason."""
        self.counts[kind] = self.counts.get(kind, 0) + count
        kept = self.examples.setdefault(kind, [])
        if example and len(kept) < EXAMPLES:
            kept.append(example)

    def of(self, *effects: Effect) -> dict[str, int]:
        """The counts of the kinds with one of these effects."""
        return {kind: n for kind, n in self._sorted() if KINDS[kind].effect in effects}

    def sentences(self, *effects: Effect) -> list[str]:
        """A sentence for each kind with one of these effects."""
        return [self.sentence(kind) for kind in self.of(*effects)]

    def sentence(self, kind: str) -> str:
        """The count of a kind in words, its examples and its remedy."""
        about = KINDS[kind]
        kept, count = self.examples[kind], self.counts[kind]
        said = f"{count:,} {about.says}" if count else f"no {about.says}"
        if kept:
            more = ", ..." if count > len(kept) else ""
            said += f" ({'; '.join(kept)}{more})"
        return f"{said}.{' ' + about.remedy if about.remedy else ''}"

    def to_dict(self) -> dict[str, Any]:
        """The counts by effect, for JSON."""
        grouped: dict[str, Any] = {}
        for kind, count in self._sorted():
            grouped.setdefault(KINDS[kind].effect, {})[kind] = count
        return grouped

    def _sorted(self) -> Iterator[tuple[str, int]]:
        order = list(KINDS)
        return iter(sorted(self.counts.items(), key=lambda item: order.index(item[0])))


def kinds_table() -> str:
    """The kinds as a Markdown table, for docs/coco.md."""
    rows = ["| content | name | treatment |", "|---|---|---|"]
    for name, kind in KINDS.items():
        rows.append(f"| {kind.says} | `{name}` | {EFFECTS[kind.effect]} |")
    return "\n".join(rows)
