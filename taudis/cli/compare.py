"""The command that compares the strategies of a simulation: `compare`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taudis.cli.options import write_result
from taudis.errors import DataError
from taudis.files import write_text
from taudis.simulation.costs import ACCEPT, DRAW, LOOK, RESHAPE, Seconds

if TYPE_CHECKING:
    from taudis.simulation.comparison import Comparison


# long: two thirds of it are arguments, the options of the command.
def compare(
    results: Annotated[list[Path], typer.Argument(help="Files of rows that `simulate` wrote.")],
    json: Annotated[
        bool, typer.Option("--json", help="Write one line of JSON after the tables.")
    ] = False,
    reference: Annotated[
        str, typer.Option(help="Strategy that the others are compared with.")
    ] = "random",
    out: Annotated[
        Path | None, typer.Option(help="Folder for results.md and the curves as PNG and SVG.")
    ] = None,
    strategies: Annotated[
        str, typer.Option(help="Strategies to compare, with commas between; default: all.")
    ] = "",
    finished_only: Annotated[
        bool,
        typer.Option(
            "--finished-only",
            help="Leave out seeds that a strategy has not finished; they are counted.",
        ),
    ] = False,
    by_hand: Annotated[
        bool,
        typer.Option("--by-hand", help="Seconds without pre-annotations: every object is drawn."),
    ] = False,
    look_seconds: Annotated[float, typer.Option(help="Seconds to look over an image.")] = LOOK,
    draw_seconds: Annotated[float, typer.Option(help="Seconds to draw an object.")] = DRAW,
    reshape_seconds: Annotated[
        float, typer.Option(help="Seconds to correct a pre-annotation.")
    ] = RESHAPE,
    accept_seconds: Annotated[
        float, typer.Option(help="Seconds to see that a pre-annotation is right.")
    ] = ACCEPT,
    remove_seconds: Annotated[
        float, typer.Option(help="Seconds to see that a pre-annotation is wrong and delete it.")
    ] = ACCEPT,
) -> None:
    """Compare strategies: labels saved at equal mAP50, area under the curve, paired tests.

    Writes Markdown tables to standard output, a section for each data set. docs/comparing.md has
    the rules and their sources.
    """
    # Imported here, because scipy.stats takes a second, which other commands do not need.
    from taudis.simulation.comparison import compare as compare_strategies
    from taudis.simulation.paired_curves import Choice, paired_curves
    from taudis.simulation.report import markdown, to_dict
    from taudis.simulation.result_rows import read_results

    if out is not None and out.exists() and not out.is_dir():
        raise DataError(f"{out}: expected a folder or a new name for --out, got a file.")
    seconds = Seconds(
        look_seconds, draw_seconds, reshape_seconds, accept_seconds, remove_seconds, by_hand
    )
    chosen = tuple(name.strip() for name in strategies.split(",") if name.strip())
    files = read_results(results)
    choice = Choice(reference, chosen, finished_only, seconds)
    comparisons = [compare_strategies(data) for data in paired_curves(files.rows, choice)]
    text = markdown(comparisons, files.half_written)
    if out is not None:
        _write(out, comparisons, text)
    sys.stdout.write(text)
    if json:
        write_result({
            **to_dict(comparisons, files.half_written),
            "seconds": {**seconds.figures(), "by_hand": by_hand},
        })  # fmt: skip


def _write(folder: Path, comparisons: list[Comparison], text: str) -> None:
    """Write results.md and the pictures of every data set."""
    from taudis.simulation.curve_picture import draw_curves, picture_stems

    folder.mkdir(parents=True, exist_ok=True)
    stems = picture_stems([each.data.name for each in comparisons])
    pictures = []
    for each in comparisons:
        draw_curves(folder, stems[each.data.name], each)
        pictures.append(f"![Learning curves]({stems[each.data.name]}.png)\n")
    write_text(folder / "results.md", "\n".join([text, *pictures]))
