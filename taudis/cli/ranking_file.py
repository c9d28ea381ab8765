"""Writes a ranking: CSV with a line per image, or JSON that also has reasons and parameters."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from taudis.cli.options import check_file_path
from taudis.cli.why import ChosenInstance, chosen_instances, shortest, why
from taudis.data.pool_format import PoolHeader
from taudis.errors import DataError
from taudis.files import draft_file
from taudis.selection.params import Labelled, SelectionParams
from taudis.types import Pool, Selection

COLUMNS = ("rank", "image_id", "utility", "votes", "reason")
SUFFIXES = (".csv", ".json")


def check_ranked_path(path: Path) -> None:
    """Raise DataError unless a ranking can be written to this path.

    Call this before the ranking is computed, so that no work is lost.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path}: expected a name that ends in .csv or .json.")
    check_file_path(path)


def ranked_images(selection: Selection, pool: Pool) -> Iterator[dict[str, Any]]:
    """The images in rank order: rank from 1, image_id, utility, votes (None: no vote), reason."""
    for place, row in enumerate(selection):
        yield {
            "rank": place + 1,
            "image_id": int(pool.image_ids[row]),
            "utility": plain(selection.utilities[row]),
            "votes": plain(selection.votes[row]) if len(selection.votes) else None,
            "reason": selection.reasons[place],
        }


def ranked_document(
    selection: Selection,
    pool: Pool,
    header: PoolHeader,
    params: SelectionParams,
    *,
    seed: int,
    labelled: Labelled | None = None,
) -> dict[str, Any]:
    """A selection as JSON: the ranking, its parameters and diagnostics, and the reasons.

    Each of the first B `images` has a `why`. `chosen` lists the chosen instances of all images in
    pick order. Uncertainties are those of `params.uncertainty`; for cm, low values are uncertain.
    Raises SelectionError if the embeddings of `labelled` have another width.
    """
    names, measure = header.label_names, params.uncertainty
    images = list(ranked_images(selection, pool))
    reasons = why(pool, selection, top=selection.budget, labelled=labelled, measure=measure)
    for image, reason in zip(images, reasons, strict=False):  # reasons are of the first B
        image["why"] = {
            "sentence": reason.sentence(names),
            "chosen": [_instance_json(one, header) for one in reason.chosen],
            "neighbours": [asdict(one) for one in reason.neighbours],
        }
    return {
        "strategy": selection.strategy,
        "budget": selection.budget,
        "seed": seed,
        "parameters": plain(asdict(params)),
        "model": header.model,
        "diagnostics": plain(dict(selection.diagnostics)),
        "warnings": list(selection.warnings),
        "images": images,
        "chosen": [
            _instance_json(one, header) for one in chosen_instances(pool, selection, measure)
        ],
    }


def _instance_json(one: ChosenInstance, header: PoolHeader) -> dict[str, Any]:
    """A chosen instance as JSON values, with the name of its label and without its pool row."""
    found = asdict(one) | {"label": header.name(one.label), "box": list(one.box)}
    del found["row"]
    return found


def summary(selection: Selection, pool: Pool) -> dict[str, Any]:
    """The short form of a selection: order, reasons of the first B, warnings, diagnostics."""
    return {
        "strategy": selection.strategy,
        "order": pool.image_ids[selection.order].tolist(),
        "reasons": list(selection.reasons[: selection.budget]),
        "warnings": list(selection.warnings),
        "diagnostics": plain(dict(selection.diagnostics)),
    }


def write_ranked(
    path: Path,
    selection: Selection,
    pool: Pool,
    header: PoolHeader,
    params: SelectionParams,
    *,
    seed: int,
    labelled: Labelled | None = None,
) -> None:
    """Write the ranking atomically, in the format of the path's suffix.

    .csv: a line with `COLUMNS` per image. .json: `ranked_document`, with the nearest labelled
    images if `labelled` has embeddings. Raises DataError for another suffix, and OSError if it
    cannot be written.
    """
    check_ranked_path(path)
    if path.suffix.lower() == ".csv":
        lines = _csv_lines(ranked_images(selection, pool))
    else:
        document = ranked_document(selection, pool, header, params, seed=seed, labelled=labelled)
        lines = iter([json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False), "\n"])
    with draft_file(path) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        file.writelines(lines)


def _csv_lines(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Lines of CSV (RFC 4180, but with line feeds), the header first. None is an empty field."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(row)
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def plain(value: Any) -> Any:
    """The value for JSON: numpy's numbers become Python's, infinity and NaN become None."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, np.floating):
        value = shortest(value)
    elif isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_image_ids(path: Path) -> list[int]:
    """Image ids from a text file, one per line. Blank lines and repeated ids are skipped.

    Raises DataError for a line that is not an integer, a file without ids, and a file that cannot
    be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected a text file of image ids, one a line: {error}") from None
    ids: dict[int, None] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            ids[int(line)] = None
        except ValueError:
            raise DataError(
                f"{path}, line {number}: expected an image id, an integer, got {line.strip()!r}."
            ) from None
    if not ids:
        raise DataError(f"{path}: expected image ids, one a line, got none.")
    return list(ids)


def rows_of(pool: Pool, ids: list[int]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The pool's image rows [len(ids)] of the given ids. Raises DataError for unknown ids."""
    place = {number: row for row, number in enumerate(pool.image_ids.tolist())}
    missing = [number for number in ids if number not in place]
    if missing:
        first = ", ".join(map(str, missing[:5]))
        raise DataError(
            f"image ids: expected ids of the pool, got {len(missing)} that it lacks: {first}"
            f"{', ...' if len(missing) > 5 else ''}. Score those images too, or leave them out."
        )
    return np.array([place[number] for number in ids], np.int64)
