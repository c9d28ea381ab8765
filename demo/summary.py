"""The result of a DEMO=auto run: the JSON line, the table, the picture, and the verdict."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from backend.label_studio.client import Studio
from backend.store import live_words
from backend.store.arms import ArmComparison, verdict
from backend.store.arms import in_words as words_of
from backend.store.blank import is_blank
from backend.store.first_useful import FirstUseful, first_useful
from backend.store.live_evaluation import LiveEvaluation, live_evaluation
from demo import report
from demo.options import Options
from demo.order_check import DEFECTS, MEANING, CheckedTask, Verdict
from demo.pre_annotations import PreAnnotation, Total, by_round, in_words
from demo.progress import Progress

THRESHOLD = 0.5
"""Lowest score of instances in the picture, equal to the backend's default."""
SECOND = 2
"""The training round from which the summary counts pre-annotations."""
HYPHENATED = {
    "Annotations": "Anno-\ntations",
    "Accepted": "Ac-\ncepted",
    "of them unchanged": "of them\nun-\nchanged",
    "Reshaped": "Re-\nshaped",
    "Relabelled": "Re-\nlabelled",
    "Removed": "Re-\nmoved",
}
"""Headings of the live evaluation that are too wide for a terminal."""
NOT_COUNTED: tuple[Verdict, ...] = (
    "changed_meanwhile",
    "locked_before_flip",
    "double",
    "after_the_order",
)
"""Verdicts of tasks whose order or state changed during the request."""


def summarise(progress: Progress) -> dict[str, Any]:
    """Print the table, draw the picture, and return the content of the JSON line."""
    annotators, environment = progress.annotators, progress.environment
    history = progress.history()
    checked = history.checked()
    counts = Counter(one.verdict for one in checked)
    rounds = [row for row in progress.records if row.map50 is not None]
    versions = [row.version for row in progress.records]
    _print(progress, checked)
    live = live_evaluation(progress.store, environment.project)
    print_live(progress.console, live)
    progress.console.print(f"Picture: {draw(progress)}")
    return {
        "rounds": len(rounds),
        "map50": [round(float(row.map50 or 0), 4) for row in rounds],
        "labels": [row.labels for row in rounds],
        "round_seconds": [round(row.seconds, 1) for row in rounds],
        "first_useful": first_useful(progress.store, environment.project).to_json(),
        "held_out_cost": [[round(cost, 4) for cost in row.cost or ()] for row in rounds],
        **visible_regions(_not_blank(annotators.seen, progress.options), versions),
        "live": live.to_json(),
        **arms_of(progress.store.comparisons(environment.project), progress.options.control_share),
        "served": counts["in_order"] + sum(counts[key] for key in DEFECTS),
        "served_in_order": counts["in_order"],
        "served_by": dict(Counter(one.served.annotator for one in checked)),
        "apart": {key: counts[key] for key in NOT_COUNTED},
        "broken_promises": [f"{each.name}: {each.says}" for each in history.violations()],
        "annotations": progress.annotated(),
        "annotations_in_last_snapshot": progress.in_snapshot(progress.finished()[-1]),
        "skips": sum(act.skipped for act in annotators.done),
        "control": environment.control,
        "data": environment.dataset.name,
        "seconds": round(time.monotonic() - progress.started, 1),
    }


def visible_regions(seen: list[PreAnnotation], versions: list[str]) -> dict[str, Any]:
    """The pre-annotations by round (0: the order before any model), for the JSON line.

    Args:
        seen: the served tasks, compared with the truth.
        versions: the version of the first order, then of each training round.
    """
    rounds = by_round(seen, versions)
    later = [one for number, ones in rounds.items() if number >= SECOND for one in ones]
    return {
        "shown": {str(number): Total.of(ones).to_json() for number, ones in rounds.items()},
        "shown_from_second_round": Total.of(later).to_json(),
    }


def _not_blank(seen: list[PreAnnotation], options: Options) -> list[PreAnnotation]:
    """The served tasks whose regions were not withheld. The backend's SEED is 0."""
    return [one for one in seen if not is_blank(one.task, options.blank_share, 0)]


def print_live(console: Console, live: LiveEvaluation) -> None:
    """Print the live evaluation: how annotators changed the pre-annotations, by version.

    Versions are numbered from the oldest, and headings are hyphenated, so that the table fits into
    80 characters.
    """
    title = "Live evaluation: what annotators did with the pre-annotations"
    table = Table(title=title, box=box.SIMPLE, show_edge=False, padding=0)
    table.add_column("model")
    for heading in live_words.HEADINGS[1:]:
        table.add_column(HYPHENATED.get(heading, heading), justify="right", no_wrap=True)
    for name, *cells in live_words.table(live):
        table.add_row(_numbered(name, live), *cells)
    console.print(table)
    for sentence in live_words.sentences(live):
        console.print(sentence)
    if live.times:
        console.print("Simulated annotators wait at random: suggestions do not make them faster.")


def _numbered(name: str, live: LiveEvaluation) -> str:
    """The name of a row of the live evaluation, with the number of its version."""
    for row, each in enumerate(live.versions):
        name = name.replace(each.version, str(row + 1))
    return name


def arms_of(found: list[ArmComparison], share: float) -> dict[str, Any]:
    """The comparisons of both arms and the verdict, for the JSON line; {} without a control arm."""
    if not share:
        return {}
    rows = [
        {
            "labels": one.labels,
            "own": one.images,
            "map50": dict(one.map50),
            "difference": one.difference,
            "interval": list(one.interval),
        }
        for one in found
    ]
    return {
        "arms": {"share": share, "rows": rows, "pays": verdict(found), "words": words_of(found)}
    }


def _print(progress: Progress, checked: list[CheckedTask]) -> None:
    """Print the table, and a line for every task that was out of order."""
    progress.console.print(progress.table())
    for found in checked:
        if found.verdict in DEFECTS:
            one = found.served
            better = "" if found.better is None else f"; task {found.better} was free and better"
            progress.console.print(
                f"{one.annotator} was served task {one.task} under {one.version_before}{better}:"
                f" {MEANING[found.verdict]}"
            )


def draw(progress: Progress) -> Path:
    """Write the picture of the run, `summary.png` in its folder. Returns its path."""
    dataset = progress.environment.dataset
    pictures = {Path(dataset.samples.file_names[row]).name: row for row in dataset.pool}
    studio = progress.environment.studio
    thumbnails = {}
    for task in Studio(studio.url, studio.admin.token).tasks(progress.environment.project):
        name = str(task["data"]["image"]).rpartition("/")[2].partition("-")[2]
        if name in pictures:
            thumbnails[int(task["id"])] = dataset.samples.image(pictures[name])
    blank = np.full((8, 8, 3), 200, np.uint8)
    ordered = {task for row in progress.records for task in row.order}
    path = progress.options.folder / "summary.png"
    report.draw(
        path,
        progress.records,
        {task: thumbnails.get(task, blank) for task in ordered},
        [progress.held_out.image(row) for row in progress.examples],
        f"TAUDIS in Label Studio: {dataset.name}",
        THRESHOLD,
        progress.store.comparisons(progress.environment.project),
    )
    return path


def shortcomings(summary: dict[str, Any], options: Options) -> list[str]:
    """The promises that a run did not keep, in words; [] if it kept all.

    Only with generated pictures must the last model be better, because other data may need more
    labels or a longer training.
    """
    found = []
    if not summary["served"] or summary["served"] != summary["served_in_order"]:
        found.append(f"{summary['served_in_order']} of {summary['served']} served in order")
    if summary["annotations"] != summary["annotations_in_last_snapshot"]:
        found.append("the last snapshot does not hold every annotation")
    found += summary["broken_promises"]
    if options.data is None and summary["map50"][-1] <= summary["map50"][0]:
        found.append(f"the last model is no better than the first: {summary['map50']}")
    if options.control_share and not summary["arms"]["rows"]:
        found.append("the arms of the queue were not compared")
    return found


def in_a_sentence(summary: dict[str, Any]) -> str:
    """The result of a run that kept all promises."""
    first, last = summary["map50"][0], summary["map50"][-1]
    apart = sum(summary["apart"].values())
    useful = FirstUseful.from_json(summary["first_useful"]).in_words()
    corrected, by_hand = summary["held_out_cost"][-1]
    arms = f" Whether the order pays: {summary['arms']['words']}." if "arms" in summary else ""
    return (
        f"{summary['served_in_order']} of {summary['served']} tasks were the best of the published"
        f" order ({apart} not counted: the order or a better task changed during the request);"
        f" {summary['annotations_in_last_snapshot']} of {summary['annotations']} annotations are in"
        f" the last snapshot; mAP50 {'rose' if last > first else 'did not rise'}: {first:.2f} with"
        f" {summary['labels'][0]} labels, {last:.2f} with {summary['labels'][-1]}."
        f" {in_words(summary['shown_from_second_round'])} {live_sentence(summary['live']['total'])}"
        f" First useful pre-annotations: {useful}. On the held-out pictures, correcting the last"
        f" model's costs as much as drawing {corrected:.2f} objects a picture, drawing all"
        f" {by_hand:.2f}."
        f"{arms}"
    )


def live_sentence(total: dict[str, Any]) -> str:
    """A sentence about the `Total.to_json` of all versions of the live evaluation."""
    if not total["regions"]:
        return f"Live evaluation: no region was given in {total['annotations']} annotations."
    return (
        f"Live evaluation: of {total['regions']} regions that annotators were given,"
        f" {total['accepted']} were accepted, {total['reshaped']} reshaped, {total['relabelled']}"
        f" relabelled and {total['removed']} removed; {total['added']} of {total['objects']}"
        " objects were added."
    )
