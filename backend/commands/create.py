"""Creates a project from a folder of images, with labels of a COCO file, and connects it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import unquote

from backend.commands.serve import address
from backend.errors import SettingsError, StudioError, StudioRejected
from backend.label_studio.client import Studio
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.new_project import (
    CONTROLS,
    SUFFIXES,
    NewProject,
    belongs_to,
    label_config,
)
from backend.label_studio.regions.objects import count_objects, encode_objects
from backend.settings import Settings
from taudis.cli.coco_check import open_labelled
from taudis.cli.options import StrategyBars
from taudis.data.coco.checked import Checked
from taudis.types import LabelMap, Target


@dataclass(frozen=True)
class Plan:
    """The images and labels for a new project."""

    files: dict[str, Path]  # name of the uploaded file -> image file
    labels: LabelMap
    labelled: dict[str, Callable[[], Target]]  # name of the uploaded file -> its objects
    left_out: tuple[str, ...]  # sentences about images and files that are left out
    objects: int = 0  # objects of the COCO file, including those of images uploaded unlabelled
    pixelless: int = 0  # of these objects, those whose mask covers no pixel


@dataclass(frozen=True)
class Created:
    """Figures about the new project."""

    project: int
    tasks: int
    annotations: int
    objects: int  # objects posted
    of_objects: int  # objects in the COCO file; 0 without one
    not_drawn: int  # of these objects, those without a region, because they cover no pixel
    labels: tuple[str, ...] = ()

    def in_words(self, settings: Settings) -> str:
        """The figures in words, with the project's address at the end."""
        url = settings.label_studio_public_url or settings.label_studio_url
        posted = f", with {self.objects} of {self.of_objects} objects of the COCO file"
        lost = f"{self.not_drawn} objects could not be drawn: they cover no pixel. "
        labels = ", ".join(map(repr, self.labels))
        return (
            f"{lost if self.not_drawn else ''}"
            f"Project {self.project} has {self.tasks} tasks, {self.annotations} of them labelled"
            f"{posted if self.of_objects else ''}. Its labels: {labels}."
            f" Its address: {url}/projects/{self.project}"
        )

    def next_step(self, settings: Settings) -> str:
        """What to do after the connection, in words."""
        if self.annotations >= settings.changes_per_round:
            return (
                f"Connected. Next: wait until the status page, {address(settings)}, says that a"
                " model serves; then press Label All Tasks in the project."
            )
        return (
            "Connected. Next: press Label All Tasks in the project. The first round starts after"
            " TRAIN_AFTER labels, or when somebody presses Start Training. The status page counts"
            f" them: {address(settings)}."
        )

    def not_connected(self) -> str:
        """What to do if the backend could not be connected, in words."""
        return (
            f"Project {self.project} is complete, but not connected. Make sure that the backend"
            " runs (`python -m backend serve`) and that Label Studio may call it; then run"
            f" `python -m backend connect --project {self.project}`. Do not create it again."
        )


@dataclass(frozen=True)
class _Posted:
    """The counts of `_annotate`."""

    annotations: int
    objects: int
    not_drawn: int


def check(settings: Settings, draw: str) -> None:
    """Check the other requirements before the images, because reading the images may take long.

    Args:
        settings: with Label Studio's address and the token of a user who may create projects.
        draw: a key of CONTROLS.

    Raises:
        SettingsError: no address, no token, or an unknown `draw`.
        StudioError: Label Studio cannot be reached or refuses the token.
    """
    url, token = settings.label_studio_url, settings.label_studio_api_key.get_secret_value()
    if not url or not token:
        raise SettingsError("Set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY.")
    if draw not in CONTROLS:
        raise SettingsError(f"--draw: expected one of {', '.join(CONTROLS)}, got {draw!r}.")
    Studio(url, token).whoami()


def plan(
    images: Path, coco: Path | None, labels: str, crowds: str = "ask", *, skip_bad: bool = False
) -> Plan:
    """Read and check all images and labels before a project is created.

    Every image in the folder and its subfolders becomes a task. An image with an object in the COCO
    file is uploaded with its labels. An image without objects is uploaded unlabelled, although
    `train` would use it as background.

    Args:
        images: folder of the images.
        coco: COCO file of some or all images; None: no labels yet.
        labels: comma-separated names of the labels; "" for those of the COCO file.
        crowds: as in `python -m taudis train`. An image with crowds that do not count as objects is
            uploaded unlabelled, because the members of a crowd cannot be outlined.
        skip_bad: as in `python -m taudis train`. Images that it skips are uploaded unlabelled.

    Raises:
        SettingsError: no folder, image or COCO file; neither or both of `labels` and `coco`.
        DataError: the COCO file cannot be used.
    """
    _check_one_given(labels, coco)
    check_paths(images, coco)
    paths = sorted(path for path in images.rglob("*") if path.is_file())
    taken = [path for path in paths if path.suffix.lower() in SUFFIXES]
    if not taken:
        known = ", ".join(sorted(SUFFIXES))
        raise SettingsError(f"Expected image files ({known}) in {images}, found none.")
    names = _names(images, taken)
    checked = open_labelled(coco, images, crowds, skip_bad) if coco else None
    given = tuple(name.strip() for name in labels.split(",") if name.strip())
    label_map = LabelMap(checked.names if checked else given)
    labelled, left_out = _labelled(checked, names)
    left_out = _not_images(paths, taken) + left_out
    files = {name: path for path, name in names.items()}
    if checked is None:
        return Plan(files, label_map, labelled, left_out)
    pixelless = checked.found.counts.get("no_pixel", 0)
    return Plan(files, label_map, labelled, left_out, checked.objects + pixelless, pixelless)


def _check_one_given(labels: str, coco: Path | None) -> None:
    """Raise SettingsError unless there are either labels or a COCO file."""
    if labels and coco:
        raise SettingsError("Expected --labels or --coco, got both.")
    if not labels and not coco:
        raise SettingsError(
            "Expected --labels a,b (the names of the labels), or --coco FILE (a COCO file)."
        )


def check_paths(images: Path, coco: Path | None) -> None:
    """Raise SettingsError unless the folder of images and the COCO file exist."""
    if not images.is_dir():
        fault = "is a file" if images.exists() else "does not exist"
        raise SettingsError(f"Expected a folder of images, {images} {fault}.")
    if coco and not coco.exists():
        raise SettingsError(f"--coco: the file {coco} does not exist.")


def create(settings: Settings, made: Plan, title: str, draw: str) -> Created:
    """Create the project, upload the images, and post the labels of the COCO file.

    Args:
        settings: the settings given to `check`.
        made: the plan.
        title: title of the project, at least three letters.
        draw: a key of CONTROLS.

    Raises:
        StudioError: Label Studio cannot be reached or refuses.
    """
    url, token = settings.label_studio_url, settings.label_studio_api_key.get_secret_value()
    new, studio, xml = NewProject(url, token), Studio(url, token), label_config(made.labels, draw)
    project = new.create(title, xml)
    try:
        with StrategyBars() as bars:
            tasks = new.upload(project, made.files, partial(bars, "uploading images"))
            _check_names(studio, project, tasks)
            posted = _annotate(studio, made, tasks, xml, partial(bars, "posting labels"))
    except StudioError as error:
        said = f"{error} Project {project} stays as it is now; delete it before you try again."
        raise type(error)(said) from error
    not_drawn = made.pixelless + posted.not_drawn
    return Created(
        project, len(tasks), posted.annotations, posted.objects, made.objects, not_drawn,
        made.labels.names,
    )  # fmt: skip


def _names(images: Path, paths: list[Path]) -> dict[Path, str]:
    """The upload name of each file: its name, or its relative path if the name is not unique."""
    often = Counter(path.name for path in paths)
    return {
        path: path.name
        if often[path.name] == 1
        else "__".join(path.relative_to(images).parts)
        for path in paths
    }  # fmt: skip


def _labelled(
    checked: Checked | None, names: dict[Path, str]
) -> tuple[dict[str, Callable[[], Target]], tuple[str, ...]]:
    """The objects of labelled images by upload name, and sentences about the other images."""
    if checked is None:
        return {}, ()
    samples, counts = checked.samples, Counter[str]()
    by_path = {os.path.realpath(path): name for path, name in names.items()}
    found: dict[str, Callable[[], Target]] = {}
    for row, path in enumerate(samples.paths):
        objects, name = len(samples.labels_at(row)), by_path.get(os.path.realpath(path))
        if name is None:
            counts["are of another kind and are not uploaded"] += 1
        elif objects < len(samples.annotations[row]):
            counts["have crowds, which cannot be drawn, and come unlabelled"] += 1
        elif not objects:
            counts["have no object in the COCO file and come unlabelled"] += 1
        else:
            found[name] = partial(samples.target, row)
    return found, tuple(f"{count} images {what}." for what, count in counts.items())


def _not_images(paths: list[Path], taken: list[Path]) -> tuple[str, ...]:
    """A sentence about the files that are not uploaded, by kind."""
    kinds = Counter(path.suffix.lower() or "no suffix" for path in set(paths) - set(taken))
    if not kinds:
        return ()
    counted = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return (f"Not uploaded, since they are no images that a browser shows: {counted}.",)


def _check_names(studio: Studio, project: int, tasks: dict[str, int]) -> None:
    """Check that each task has its image, before it gets labels."""
    rows = {row["id"]: row["data"] for row in studio.tasks(project)}
    for name, task in tasks.items():
        address = unquote(str(rows.get(task, {}).get("image", "")))
        if not belongs_to(address, name):
            raise StudioRejected(
                f"Expected task {task} to hold {name}, got {address or 'nothing'}; no labels are"
                " posted."
            )


def _annotate(
    studio: Studio,
    made: Plan,
    tasks: dict[str, int],
    xml: str,
    progress: Callable[[int, int], object],
) -> _Posted:
    """Post the objects of each labelled image as one annotation."""
    config, annotations, drawn, lost = parse_label_config(xml), 0, 0, 0
    for number, (name, objects) in enumerate(made.labelled.items(), 1):
        target = objects()
        regions = encode_objects(target, made.labels, config)
        if regions:
            studio.create_annotation(tasks[name], regions)
            annotations += 1
        found = count_objects(regions)
        drawn, lost = drawn + found, lost + len(target) - found
        progress(number, len(made.labelled))
    return _Posted(annotations, drawn, lost)
