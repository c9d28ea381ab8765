"""The command `review`: lists tasks with labels that are likely wrong in a Data Manager tab.

Like `taudis review`, it compares the labels of each image with the detections of a model that was
trained on other images. The serving model was trained on these labels, so new models are trained.
"""

from __future__ import annotations

import fcntl
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress as Bars

from backend.commands.projects import labels_of
from backend.errors import RoundError
from backend.images.decode import Pixels
from backend.label_studio.left_out import Summary
from backend.label_studio.tabs import REVIEW_TITLE
from backend.worker import review_tab
from backend.worker.context import RoundContext
from backend.worker.dataset import AnnotatedSamples, fingerprint
from backend.worker.train import recipe_of
from taudis.cli.review import table
from taudis.evaluation.held_out import held_out_images
from taudis.evaluation.label_errors import HeldOutImage, Suspect, find_suspects
from taudis.files import write_text
from taudis.simulation.split import folds as folds_of
from taudis.types import IntArray, LabelMap, Target


@dataclass(frozen=True)
class Options:
    """The options of a review."""

    folds: int = 3
    group: str = ""
    limit: int = 200  # tasks in the tab
    csv: Path | None = None


@dataclass(frozen=True, eq=False)
class Labels:
    """A subset of a project's labelled images, for the training of held-out folds."""

    samples: AnnotatedSamples
    rows: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int, /) -> tuple[Pixels, Target]:
        """The image and its target. Regions with an unknown label are crowds."""
        return self.samples.with_crowds(self.rows[index])

    def labels_at(self, index: int) -> IntArray:
        """The labels [n] of an image's instances."""
        return self.samples.labels_at(self.rows[index])

    def subset(self, rows: Iterable[int]) -> Labels:
        """The images at the given rows, in that order."""
        return Labels(self.samples, tuple(self.rows[row] for row in rows))

    def identity(self) -> object:
        """A value that identifies the annotations, their tasks, image addresses and labels."""
        return [
            [task["id"], fingerprint(task), address_of(self.samples, row), labels]
            for row in self.rows
            for task, labels in [
                (self.samples.tasks[row], self.samples.labels_at(row).tolist()),
            ]
        ]


def address_of(samples: AnnotatedSamples, row: int) -> str:
    """The address of a task's image from Label Studio."""
    return samples.config.image.address(samples.tasks[row]["data"])


@dataclass(frozen=True)
class Reviewed:
    """The result of a review."""

    images: int
    left_out: Summary
    suspects: int
    kinds: Counter[str]
    tasks: int  # with suspects
    confirmed: int  # of these, tasks whose labels a person confirmed before
    listed: review_tab.Listed

    def in_words(self) -> str:
        """All counts in words."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.kinds.most_common())
        listed = self.listed
        rest = self.tasks - self.confirmed - listed.tasks - listed.changed - listed.gone
        parts = [
            f"{self.suspects} suspects ({kinds or 'none'}) in {self.tasks} of {self.images}"
            f" labelled tasks; the tab {REVIEW_TITLE!r} lists {listed.tasks} tasks.",
            *_counted(rest, "less suspicious tasks are not listed: raise --limit, or see --csv."),
            *_counted(self.confirmed, "tasks are not listed: their labels were confirmed."),
            *_counted(
                listed.changed,
                "tasks are not listed: their labels were changed or confirmed since.",
            ),
            *_counted(listed.gone, "tasks are not listed: they were deleted since."),
            *_counted(listed.before, "tasks of an earlier run were taken from the list."),
            self.left_out.in_words("Labelled tasks that were not looked at"),
        ]
        return " ".join(part for part in parts if part)


def _counted(count: int, words: str) -> list[str]:
    return [f"{count} {words}"] if count else []


def run(context: RoundContext, options: Options, bars: Bars) -> Reviewed:
    """Check all labels of a project, and list the most suspicious tasks.

    Raises:
        RoundError: the project is not connected, no label can be used, another review runs, or a
            file cannot be written.
        DataError: the options are invalid.
        StudioError, TrainingError, WeightsError: a call or a training failed.
    """
    _check_connected(context)
    samples, left_out = labels_of(context)
    if samples.statistics.densest == 0:
        raise RoundError(
            f"Expected at least one labelled object, got none in {len(samples)} images. Label a"
            " task that shows an object."
        )
    folder = context.data / "reviews" / str(context.project_id)
    try:
        with _alone(folder):
            images = _held_out(context, samples, options, folder, bars)
            suspects = find_suspects(images)
            if options.csv is not None:
                write_text(options.csv, _table(context, samples, suspects, images))
            _check_connected(context)
            found = _marks(samples, suspects, images)
            marks = review_tab.unconfirmed(context, found)
            bar = bars.add_task("marking", total=min(len(marks), options.limit))
            listed = review_tab.publish(
                context, marks[: options.limit], lambda: bars.update(bar, advance=1)
            )
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise RoundError(
            f"The review stopped: {error}. Mend the cause and give the same command again: it goes"
            " on with the models that are there."
        ) from error
    kinds = Counter(str(suspect.kind) for suspect in suspects)
    confirmed = len(found) - len(marks)
    return Reviewed(len(images), left_out, len(suspects), kinds, len(found), confirmed, listed)


def _check_connected(context: RoundContext) -> None:
    """Raise RoundError for a project that is not connected, whose tab nothing would remove."""
    if not context.load_project().state.armed:
        raise RoundError(
            f"Expected a connected project, and project {context.project_id} is not: connect this"
            " backend in Settings > Model, or with `connect`, and let the worker set it up."
        )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Lock the folder of a project's review. Raises RoundError if another process has the lock."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RoundError(
                "Expected no other `review` of this project, and one runs: wait for it, or end it."
            ) from None
        yield


def _held_out(
    context: RoundContext, samples: AnnotatedSamples, options: Options, folder: Path, bars: Bars
) -> list[HeldOutImage]:
    """All labelled images, each with the detections of the model that was not trained on it."""
    addresses = [address_of(samples, row) for row in range(len(samples))]
    seed, weights = context.settings.seed, context.settings.weights
    rows = folds_of(addresses, count=options.folds, seed=seed, group=options.group)
    recipe = recipe_of(context.settings, samples.statistics)
    training = bars.add_task("training", total=options.folds * recipe.steps)
    looking = bars.add_task("judging", total=len(samples))
    found = []
    for image in held_out_images(
        Labels(samples, tuple(range(len(samples)))),
        samples.config.label_map,
        recipe,
        rows,
        seed=seed,
        weights=weights,
        folder=folder,
        weights_dir=context.imagenet_dir,
        on_step=lambda fold, progress: bars.update(
            training, completed=fold * recipe.steps + progress.step
        ),
    ):
        found.append(image)
        bars.update(looking, advance=1)
    return found


def _marks(
    samples: AnnotatedSamples, suspects: Sequence[Suspect], images: Sequence[HeldOutImage]
) -> list[review_tab.Mark]:
    """One mark for each task, by its most suspicious object; the most suspicious task first."""
    by_image: dict[int, list[Suspect]] = {}
    for suspect in suspects:  # the most suspicious first
        by_image.setdefault(suspect.image, []).append(suspect)
    by_number = {image.number: image for image in images}
    found = []
    for row, of_image in by_image.items():
        annotation = fingerprint(samples.tasks[row])
        if annotation is not None:  # always true, because the task was used
            text = text_of(of_image, by_number[row], samples.config.label_map)
            found.append(review_tab.Mark(samples.task_ids[row], text, annotation))
    return found


def text_of(suspects: Sequence[Suspect], image: HeldOutImage, labels: LabelMap) -> str:
    """The mark of a task: suspicion, kind, reason and place of its first suspect, and the number of
    further suspects.
    """
    first = suspects[0]
    x, y, width, height = first.box(image)
    place = f"{x + width // 2} px from the left, {y + height // 2} px from the top"
    more = f"; {len(suspects) - 1} more" if len(suspects) > 1 else ""
    return f"{first.suspicion:.3f} {first.kind}: {first.sentence(labels)}, {place}{more}"


def _table(
    context: RoundContext,
    samples: AnnotatedSamples,
    suspects: Sequence[Suspect],
    images: Sequence[HeldOutImage],
) -> str:
    """All suspects as CSV in the format of `taudis review`. Image ids are task ids."""

    def named(suspect: Suspect) -> tuple[int, str, str]:
        annotation = fingerprint(samples.tasks[suspect.image]) or ("",)
        number = samples.task_ids[suspect.image]
        return number, address_of(samples, suspect.image), str(annotation[0])

    server = context.settings.label_studio_public_url or context.studio.url
    link = f"{server}/projects/{context.project_id}/data?task={{image_id}}"
    return table(suspects, images, named, samples.config.label_map, link)
