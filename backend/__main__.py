"""`python -m backend`: the commands that start, check and control the backend from a shell.

This module parses arguments and prints. `backend.commands` and `backend.worker` do the work.
Commands that use a model import torch inside their function: it takes seconds and 200 MB.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from backend.commands import backup as backup_
from backend.commands import create as create_
from backend.commands import disconnect as disconnect_
from backend.commands import export_labels as labels_
from backend.commands import forget as forget_
from backend.commands import processes
from backend.commands import rounds as rounds_
from backend.commands import versions as versions_
from backend.commands.connect import connect_backend
from backend.commands.console import console, errors_as_messages, settings_with_logging
from backend.commands.projects import ProjectOption, context_of
from backend.commands.review_command import review
from backend.commands.train_command import train
from backend.errors import BackendError, StudioError
from backend.settings_table import settings_table
from backend.store.database import Store
from backend.store.lease import NO_LEASE
from backend.store.next_labels import next_labels
from backend.worker import connection, operate
from backend.worker import prune as prune_
from backend.worker.context import RoundContext
from taudis.cli.coco_options import CrowdsOption, SegmentationOption, SkipBad
from taudis.data.coco.write import form_of

app = typer.Typer(no_args_is_help=True, add_completion=False, help="TAUDIS for Label Studio.")

VERSION = "A model's or an order's version, or the beginning of its name alone."
DOCTOR_PATIENCE = 20.0  # time limit of a request in seconds; short, because a person waits

for command in (processes.serve, processes.web, processes.worker, review):
    app.command()(command)


@app.command()
def doctor(project: ProjectOption = 0) -> None:
    """Check everything that the order depends on. Exit status 1 on a failure."""
    with console.status("Checking"):  # the first import after an installation may take a minute
        from backend.commands import doctor as doctor_

    with errors_as_messages():
        settings = settings_with_logging()
        store = Store(settings.model_dir)
        ids = [project] if project else [row.id for row in store.projects()]
        contexts = [RoundContext(settings, store, NO_LEASE, id_, DOCTOR_PATIENCE) for id_ in ids]
        failures = 0
        without = RoundContext(settings, store, NO_LEASE, 0, DOCTOR_PATIENCE)
        for finding in doctor_.examine(settings, contexts, without):
            mark = "[green]ok[/]  " if finding.well else "[bold red]FAIL[/]"
            console.print(f"{mark} {finding.check}: ", end="")
            console.print(finding.found, markup=False, highlight=False)
            if not finding.well:
                failures += 1
                console.print("      -> " + finding.remedy, markup=False, highlight=False)
        if not ids:
            console.print("No project is connected yet: --project N examines project N.")
    raise typer.Exit(1 if failures else 0)


@app.command()
def create(
    images: Annotated[Path, typer.Argument(help="Folder of images, with its subfolders.")],
    coco: Annotated[
        Path | None, typer.Option("--coco", help="COCO file; images with objects come labelled.")
    ] = None,
    labels: Annotated[str, typer.Option("--labels", help="Names instead, commas between.")] = "",
    title: Annotated[str, typer.Option("--title", help="Title of the project.")] = "TAUDIS",
    draw: Annotated[
        str, typer.Option("--draw", help="brush, bitmask, polygon or rectangle.")
    ] = "brush",
    crowds: CrowdsOption = "ask",
    skip_bad: SkipBad = False,
) -> None:
    """Make a project in Label Studio from a folder of images, and add this backend to it."""
    with errors_as_messages():
        settings = settings_with_logging()
        create_.check_paths(images, coco)
        create_.check(settings, draw)
        plan = create_.plan(images, coco, labels, crowds, skip_bad=skip_bad)
        made = create_.create(settings, plan, title, draw)
        for sentence in (*plan.left_out, made.in_words(settings)):
            console.print(sentence, markup=False, highlight=False)
        try:
            connect_backend(context_of(made.project), "TAUDIS")
        except StudioError as error:
            raise type(error)(f"{error} {made.not_connected()}") from error
        console.print(made.next_step(settings), markup=False, highlight=False)


@app.command()
def connect(project: ProjectOption = 0, title: str = "TAUDIS") -> None:
    """Add this backend to a project, as Label Studio's Model page does."""
    with errors_as_messages():
        context = context_of(project)
        found = connect_backend(context, title)
        console.print(
            f"Project {context.project_id}: ML backend {found}; the worker sets it up now."
        )


@app.command()
def disconnect(project: ProjectOption = 0) -> None:
    """Restore the project's sampling and version as they were; remove this backend's webhook."""
    with errors_as_messages():
        context = context_of(project, known=True)
        text = disconnect_.in_words(context.project_id, connection.disarm(context))
        console.print(text, markup=False, highlight=False)


app.command()(forget_.forget)
app.command()(train)


@app.command()
def rounds(project: ProjectOption = 0, limit: int = 20) -> None:
    """List a project's rounds, newest first."""
    with errors_as_messages():
        context = context_of(project, known=True)
        if not context.store.rounds(context.project_id, limit=1):
            return console.print(rounds_.none_yet(context), markup=False, highlight=False)
        console.print(rounds_.table(context.store, context.project_id, limit, width=console.width))
        budget = context.settings.budget
        found = next_labels(context.store, context.project_id, budget).in_words()
        console.print(f"Next labels: {found}.", markup=False, highlight=False)


@app.command()
def rollback(
    version: Annotated[str, typer.Argument(help=VERSION)] = "", project: ProjectOption = 0
) -> None:
    """Serve the previous version, or the named one, until `unpin`."""
    with errors_as_messages():
        context = context_of(project, known=True)
        target = operate.rollback(context, version)
        served = f"serves {target.version} ({target.tasks} tasks) until `unpin`"
        console.print(f"Project {context.project_id} {served}.")


@app.command()
def versions(
    version: Annotated[str, typer.Argument(help=f"Print its whole card. {VERSION}")] = "",
    project: ProjectOption = 0,
) -> None:
    """List the kept orders and models, newest first; or print one model's card."""
    with errors_as_messages():
        context = context_of(project, known=True)
        if version:
            typer.echo(
                json.dumps(versions_.card_of(context, version), indent=2, ensure_ascii=False)
            )
            return
        rows = versions_.table(context)
        if not rows:
            return console.print("No order yet: the worker makes the first one.")
        if console.width >= versions_.WIDTH:
            return console.print(versions_.as_table(rows))
        for row in rows:
            console.print(row.in_lines(), markup=False, highlight=False)


@app.command()
def promote(
    version: Annotated[str, typer.Argument(help=VERSION)], project: ProjectOption = 0
) -> None:
    """Make a kept model serve, even if its evaluation was worse, until `unpin` or `rollback`.

    The worker scores the pool with the model and switches to that order. Until then the current
    order is served. Later rounds train and evaluate models but do not replace it.
    """
    with errors_as_messages():
        context = context_of(project, known=True)
        model = operate.promote(context, version)
        served = context.load_project().state.serving
        console.print(
            f"Project {context.project_id}: model {model} is promoted; {served} serves until the"
            " worker has scored the pool with it."
        )
        if not context.store.worker_alive():
            console.print("No worker runs now: start one (`python -m backend worker`).")


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help=VERSION)],
    b: Annotated[str, typer.Argument(help=VERSION)],
    project: ProjectOption = 0,
) -> None:
    """Compare two models on the same labelled validation images, with a verdict."""
    import torch

    from backend.commands.compare import compare_versions

    with errors_as_messages():
        context = context_of(project, known=True)
        torch.set_num_threads(context.settings.torch_threads)
        name_a, name_b, found, left_out = compare_versions(context, a, b)
        table = Table("figure", name_a, name_b, "difference")
        figures = {"mAP50": (found.a.map50, found.b.map50), "mAP": (found.a.map, found.b.map)}
        for label, value in found.a.per_label.items():
            figures[f"mAP50 of {label}"] = (value, found.b.per_label[label])
        for name, (one, other) in figures.items():
            cells = (f"{one:.3f}", f"{other:.3f}", f"{other - one:+.3f}")
            table.add_row(name, *("no truth" if math.isnan(one + other) else s for s in cells))
        console.print(table)
        console.print(found.verdict(name_a, name_b), markup=False, highlight=False)
        if left_out:
            console.print(left_out.in_words(), markup=False, highlight=False)


# long: most lines are arguments
@app.command()
def export(
    version: Annotated[str, typer.Argument(help=VERSION)] = "",
    out: Annotated[Path | None, typer.Argument(help="A new or empty folder.")] = None,
    coco: Annotated[
        Path | None,
        typer.Option("--coco", help="Export the project's labels to this folder instead."),
    ] = None,
    every_image: Annotated[
        bool,
        typer.Option("--every-image", help="Predict every image instead of the validation split."),
    ] = False,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Also write ONNX (needs onnx and onnxruntime).")
    ] = False,
    segmentation: SegmentationOption = "rle",
    project: ProjectOption = 0,
) -> None:
    """Export a model: torchvision weights and code, card, COCO predictions, ONNX.

    With --coco export all labels and their images as a COCO data set instead.
    """
    with errors_as_messages():
        # Labels are read from Label Studio alone, so also those of a project not connected here.
        context = context_of(project, known=coco is None)
        if coco is not None and not version:
            found = labels_.export_labels(context, coco, form_of(segmentation)).in_words()
            return console.print(f"{coco}: {found}", markup=False)
        if coco is not None or out is None:
            raise BackendError("Expected VERSION and a folder, or --coco and a folder.")
        import torch

        from backend.commands import export as export_

        torch.set_num_threads(context.settings.torch_threads)
        done = export_.export(
            context,
            version,
            out,
            every_image=every_image,
            onnx=onnx,
            segmentation=form_of(segmentation),
        )
        left_out = f", {done.unreadable} without a readable image" if done.unreadable else ""
        console.print(
            f"{done.version} is in {out}, with {done.instances} predictions on {done.images} images"
            f"{left_out}. README.md there describes each file.",
            markup=False,
        )


@app.command()
def prune(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Delete nothing, list what would be deleted.")
    ] = False,
    project: ProjectOption = 0,
) -> None:
    """Delete versions older than the newest KEEP_VERSIONS. Each round does the same at its end.

    The served, pinned and promoted versions stay, and the one that `rollback` would serve.
    """
    with errors_as_messages():
        context = context_of(project, known=True)
        plan = prune_.plan(context)
        for path in plan.paths:
            name = path.relative_to(context.data).as_posix()
            console.print(f"{prune_.size_of(path) / 1e6:9.1f} MB  {name}", markup=False)
        what = f"{len(plan.versions)} versions, {plan.size / 1e6:.1f} MB"
        if dry_run:
            console.print(f"{what} would be deleted. Nothing was deleted.")
            return
        prune_.forget(context, plan, by_hand=True)
        console.print(
            f"{what} deleted; within a day the worker deletes their predictions in Label Studio."
        )


@app.command()
def unpin(project: ProjectOption = 0) -> None:
    """End a rollback or a promotion: serve the newest version; later rounds replace it again."""
    with errors_as_messages():
        context = context_of(project, known=True)
        newest = operate.unpin(context)
        name = newest.version if newest else "nothing: Label Studio has no order of ours (yet)"
        console.print(f"Project {context.project_id} serves {name}.")


@app.command()
def backup(file: Annotated[Path, typer.Argument(help="A new file.")]) -> None:
    """Copy the data directory to one file, also while the backend runs. It holds access tokens."""
    with errors_as_messages():
        done = backup_.backup(settings_with_logging().model_dir, file)
        console.print(
            f"{file}: {done.in_words()}. It holds access tokens: keep it where only you can read"
            " it.",
            markup=False,
        )


@app.command()
def restore(file: Annotated[Path, typer.Argument(help="What `backup` wrote.")]) -> None:
    """Make the data directory again from a backup. The directory must be empty or missing."""
    with errors_as_messages():
        folder = settings_with_logging().model_dir
        done = backup_.restore(file, folder)
        console.print(
            f"{folder}: {done.in_words()}. Start the backend. If Label Studio serves an order that"
            " was made later, `unpin` switches to the restored one; until then the status page says"
            " so.",
            markup=False,
        )


@app.command()
def settings() -> None:
    """Print the table of all settings, as docs/settings.md has it."""
    typer.echo(settings_table())


if __name__ == "__main__":
    app()
