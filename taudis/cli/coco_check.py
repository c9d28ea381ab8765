"""Opens a COCO file for a command: checks it, reports the findings, asks about crowds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import typer

from taudis.cli.options import progress_bars, write_result
from taudis.data.coco import CocoSamples
from taudis.data.coco.check import Crowds, check_coco
from taudis.data.coco.checked import Checked
from taudis.data.coco.kinds import EFFECTS, Effect
from taudis.data.coco.values import Key
from taudis.errors import DataError
from taudis.types import ANY_LABEL, LabelMap

REFUSED = 3
"""Exit code of `check` for a file that train (or score) would refuse."""
CHECK_HINT = "`python -m taudis check` tells more; docs/coco.md says what can be done."
"""The end of an error message for a refused file."""


def check_file(
    coco: Path, images: Path | None, crowds: str, *, skip_bad: bool, labels: bool
) -> bool:
    """Report the findings of the check, and write a JSON line. Returns whether the file is usable.

    images: folder of the images, or None to read no image file. labels: whether to check the
    annotations, as train does, or only the images, as score does.
    """
    try:
        checked = _check(coco, images, crowds, skip_bad, labels=labels)
    except DataError as error:
        _print_line(f"refused: {error}")
        write_result({"use": False, "why": [str(error)]})
        return False
    refusals = _refusals(checked, skip_bad)
    for line in report(checked, refusals):
        _print_line(line)
    write_result({"use": not refusals, "why": refusals, **checked.to_dict()})
    return not refusals


def open_labelled(coco: Path, images: Path, crowds: str, skip_bad: bool) -> Checked:
    """A checked COCO file with its annotations, for train and evaluate.

    Findings are reported on standard error. If there are many crowds, the user at the terminal is
    asked how to read them. Raises DataError for a refused file.
    """
    checked = _check(coco, images, crowds, skip_bad, labels=True)
    if checked.question and sys.stdin.isatty() and sys.stderr.isatty():
        answer = _ask(checked.question)
        checked = _check(coco, images, answer, skip_bad, labels=True)
    return _accepted(coco, checked, skip_bad)


def open_images(coco: Path, images: Path, skip_bad: bool, *, ids: bool = True) -> Checked:
    """A checked COCO file without its annotations, for score, predict and why.

    Raises DataError as `open_labelled` does; with `ids` also for image ids that are not integers
    below 2^63.
    """
    checked = _accepted(coco, _check(coco, images, "ignore", skip_bad, labels=False), skip_bad)
    if ids and not checked.numbered:
        raise DataError(
            f"{coco}: expected image ids that are whole numbers below 2^63, since the output names"
            f" images by them. {checked.found.sentence('text_id')} Number the images."
        )
    return checked


def for_model(checked: Checked, model: LabelMap) -> CocoSamples:
    """The samples with the model's labels; categories and labels are matched by name.

    Differences are reported on standard error. Raises DataError for objects of a category that is
    not a label of the model.
    """
    samples, names = checked.samples, checked.names
    if names == model.names:
        return samples
    unknown = [name for name in names if name not in model.names]
    labels = {samples.label_of(row) for rows in samples.annotations for row in rows}
    used = {names[label - 1] for label in labels - {ANY_LABEL}}
    if checked.labels_used and used & set(unknown):
        raise DataError(
            f"expected objects of the model's labels {list(model.names)}, got others of"
            f" {sorted(used & set(unknown))}. Train a model for the new labels."
        )
    _report_line(f"The model's labels are {_few(model.names)}; categories are matched by name.")
    if unknown:
        _report_line(f"The model does not know {len(unknown)} categories: {_few(unknown)}.")
    if checked.labels_used and (missing := [n for n in model.names if n not in names]):
        _report_line(f"The file has no category for {len(missing)} of them: {_few(missing)}.")
    known = {
        key: model.index(names[label - 1])
        for key, label in samples.labels.items()
        if names[label - 1] in model.names
    }
    return samples.relabelled(known)


def categories_of(checked: Checked, model: LabelMap) -> list[Key]:
    """The category id in COCO results for each of the model's labels 1..K.

    Raises DataError if the file has categories, but not for every label.
    """
    if not checked.names:
        _report_line("The file has no categories: results count them from 1, in the model's order.")
        return list(range(1, len(model) + 1))
    ids: dict[str, Key] = {}
    for key, label in checked.samples.labels.items():
        ids.setdefault(checked.names[label - 1], key)
    missing = [name for name in model.names if name not in ids]
    if missing:
        raise DataError(
            f"expected a category for every label of the model, got none for {missing}. Add them"
            " to the file, or leave all categories out of it."
        )
    return [ids[name] for name in model.names]


def report(checked: Checked, refusals: list[str]) -> list[str]:
    """The findings of the check, a sentence per line. refusals: the reasons to refuse the file."""
    lines = [_summary(checked)]
    if not checked.with_pictures:
        lines.append("no folder of images was given: no image file was read.")
    for effect in EFFECTS:
        lines += [f"{_word(effect)}: {line}" for line in checked.found.sentences(effect)]
    if checked.question:
        lines.append(f"question: {checked.question}")
    if checked.skipped_images or checked.ignored:
        lines.append(_skipped(checked))
    use = "train would use this file" if checked.labels_used else "score would use these images"
    lines.append(f"{use}." if not refusals else f"{use.replace('use', 'refuse')} as it is.")
    return lines


def _word(effect: Effect) -> str:
    """The name of an effect in the report."""
    return "unusable" if effect == "bad" else effect


def _summary(checked: Checked) -> str:
    """A sentence with the counts of usable images and objects."""
    images = f"{len(checked.samples):,} images"
    if not checked.labels_used:
        return f"{images} can be used."
    crowds = f", {checked.crowds:,} crowds" if checked.crowds else ""
    names = f"{len(checked.names):,} labels ({_few(checked.names)})"
    return f"{images}, {checked.objects:,} objects{crowds} can be used; {names}."


def _skipped(checked: Checked) -> str:
    """A sentence with the counts of images and objects that `--skip-bad` leaves out."""
    return (
        f"--skip-bad ignores {checked.ignored:,} unusable objects by their box and leaves out"
        f" {checked.skipped_images:,} images."
    )


def _few(names: tuple[str, ...] | list[str], count: int = 5) -> str:
    """The first `count` names, with dots if there are more."""
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def _refusals(checked: Checked, skip_bad: bool) -> list[str]:
    """The reasons to refuse the file, one sentence each; empty if it is usable."""
    bad = [] if skip_bad else checked.found.sentences("bad")
    return [*checked.refusals, *bad]


def _check(
    coco: Path, images: Path | None, crowds: str, skip_bad: bool, *, labels: bool
) -> Checked:
    """Check the file, with a progress bar.

    Raises DataError if it is not a COCO file, and for an unknown `crowds`.
    """
    for known in get_args(Crowds):
        if crowds == known:
            with progress_bars() as bar:

                def progress(count: int) -> Callable[[], object]:
                    task = bar.add_task("reading the images", total=count)
                    return lambda: bar.advance(task)

                return check_coco(
                    coco, images, labels=labels, crowds=known, skip_bad=skip_bad, progress=progress
                )
    raise DataError(f"--crowds: expected objects, ignore or ask, got {crowds!r}.")


def _accepted(coco: Path, checked: Checked, skip_bad: bool) -> Checked:
    """Report the findings and return the file. Raises DataError if it is refused."""
    refusals = _refusals(checked, skip_bad)
    if refusals:
        way = "" if skip_bad or not checked.found.of("bad") else " --skip-bad goes on without them."
        raise DataError(f"{coco}: {' '.join(refusals)}{way} {CHECK_HINT}")
    for effect in EFFECTS:
        for line in checked.found.sentences(effect):
            _report_line(f"{_word(effect)}: {line}")
    if checked.skipped_images or checked.ignored:
        _report_line(_skipped(checked))
    return checked


def _print_line(line: str) -> None:
    """Write a line to standard output; half characters, which JSON can hold, as their number."""
    text = line.encode("utf-8", "backslashreplace").decode("utf-8")
    sys.stdout.write(f"{text}\n")


def _report_line(line: str) -> None:
    """Write a line to standard error."""
    sys.stderr.write(f"{line}\n")


def _ask(question: str) -> str:
    """Ask the user at the terminal. Raises DataError for an unknown answer."""
    _report_line(question)
    answer = str(typer.prompt("objects or ignore", err=True)).strip()
    if answer not in ("objects", "ignore"):
        raise DataError(f"expected the answer objects or ignore, got {answer!r}.")
    return answer
