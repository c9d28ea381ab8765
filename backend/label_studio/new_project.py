"""Creates a project in Label Studio and uploads its images, like the Create Project page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import urllib3

from backend.errors import StudioRejected
from backend.label_studio.http import Transport
from taudis.types import LabelMap

CONTROLS = {
    "brush": "BrushLabels",
    "bitmask": "BitmaskLabels",
    "polygon": "PolygonLabels",
    "rectangle": "RectangleLabels",
}
"""Name of a drawing method -> tag of the labelling config."""
COLOURS = (
    *("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#9a6324", "#808000"),
    *("#42d4f4", "#f032e6", "#bfef45", "#ffe119", "#000075", "#800000", "#fabed4", "#ff1493"),
    *("#dcbeff", "#aaffc3", "#a9a9a9", "#ffd8b1"),
)
"""Background colours of labels; from the 21st label on they repeat."""
SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp"})
"""Image files that Label Studio 1.23 accepts as uploads and that browsers show."""
POST_FILES = 50
"""Files in one request. Label Studio refuses more than DATA_UPLOAD_MAX_NUMBER_FILES (100)."""
POST_BYTES = 100_000_000
"""Bytes in one request. Label Studio refuses more than DATA_UPLOAD_MAX_MEMORY_SIZE (250 MB)."""
UPLOAD_SECONDS = 600.0
NAME_COMPARED = 30
"""Characters of a file's name that are compared, because Label Studio truncates long names."""


def label_config(label_map: LabelMap, control: str) -> str:
    """A labelling config with one control tag that has every label.

    Args:
        label_map: the names of the labels.
        control: a key of CONTROLS.
    """
    tag = CONTROLS[control]
    labels = "\n".join(
        f'    <Label value="{_escaped(name)}" background="{COLOURS[row % len(COLOURS)]}"/>'
        for row, name in enumerate(label_map.names)
    )
    return (
        f'<View>\n  <Image name="image" value="$image" zoom="true"/>\n'
        f'  <{tag} name="tag" toName="image">\n{labels}\n  </{tag}>\n</View>'
    )


def _escaped(text: str) -> str:
    """Text escaped for an XML attribute in double quotes."""
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), ('"', "&quot;")):
        text = text.replace(character, entity)
    return text


class NewProject:
    """Creates projects with one user's token.

    Args:
        url: Label Studio's address.
        token: legacy token or personal access token.
    """

    def __init__(self, url: str, token: str) -> None:
        self._http = Transport(url, token, timeout=30.0, patience=90.0)

    def create(self, title: str, xml: str) -> int:
        """Create a project with a title (at least three letters) and a labelling config: its id."""
        body = {"title": title, "label_config": xml}
        what = f"Making the project {title!r}"
        row: Mapping[str, int] = self._http.call("POST", "/api/projects/", what=what, body=body)
        return int(row["id"])

    def upload(
        self, project: int, files: Mapping[str, Path], progress: Callable[[int, int], object]
    ) -> dict[str, int]:
        """Upload image files, one task each. Returns name -> task id.

        Args:
            project: id of the project, which must have its labelling config.
            files: name for the upload -> image file.
            progress: called after each request with (files uploaded, all files).

        Raises:
            StudioRejected: a file was refused, or the edition gives no task ids (Enterprise).
            OSError: a file cannot be read.
        """
        tasks: dict[str, int] = {}
        for post in _posts(files):
            body, content_type = urllib3.encode_multipart_formdata(
                [(name, (_header_safe(name), data, "image/*")) for name, data in post]
            )
            answer = self._http.call(
                "POST",
                f"/api/projects/{project}/import",
                params={"return_task_ids": "true"},
                what=f"Uploading {len(post)} images to project {project}",
                body=body,
                content_type=content_type,
                timeout=UPLOAD_SECONDS,
            )
            ids = answer.get("task_ids") if isinstance(answer, dict) else None
            if not isinstance(ids, list) or len(ids) != len(post):
                raise StudioRejected(
                    f"Uploading images to project {project}: expected {len(post)} task ids, got"
                    f" {answer!r:.200}. Only Label Studio's Community edition gives them; import"
                    " the images on its page instead."
                )
            tasks.update({name: int(task) for (name, _), task in zip(post, ids, strict=True)})
            progress(len(tasks), len(files))
        return tasks


def _posts(files: Mapping[str, Path]) -> Iterator[list[tuple[str, bytes]]]:
    """The files, divided into requests of at most POST_FILES and POST_BYTES."""
    post: list[tuple[str, bytes]] = []
    size = 0
    for name, path in files.items():
        data = path.read_bytes()
        if post and (len(post) == POST_FILES or size + len(data) > POST_BYTES):
            yield post
            post, size = [], 0
        post.append((name, data))
        size += len(data)
    if post:
        yield post


def _header_safe(name: str) -> str:
    """A file's name without characters that would end its header."""
    return re.sub(r'[\x00-\x1f"\\]', "_", name)


def belongs_to(address: str, name: str) -> bool:
    """Whether an uploaded file's address, `/data/upload/7/0123abcd-NAME`, belongs to this name.

    Label Studio turns blanks into underscores and drops all characters but letters, digits, dashes
    and dots. Therefore only letters and digits are compared.
    """
    stored = address.rpartition("/")[2][len("01234567-") :]
    plain = (re.sub(r"[\W_]", "", text)[:NAME_COMPARED] for text in (stored, name))
    return next(plain) == next(plain)


def uploaded_name(address: str) -> str:
    """The name of an uploaded file, without Label Studio's prefix; '' if the file is no upload.

    `address`: such as `/data/upload/7/0123abcd-NAME`. Label Studio may have changed the name, as
    `belongs_to` says.
    """
    found = re.search(r"/data/upload/\d+/[0-9a-f]{8}-([^/]+)$", unquote(urlsplit(address).path))
    return found[1] if found else ""
