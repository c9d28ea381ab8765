"""Commands on versions: list them, and show a model's card.

A version is an order of the tasks, a model, or both under one name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Column, Table

from backend.label_studio.left_out import Summary
from backend.store import serving
from backend.worker.context import RoundContext
from backend.worker.prune import size_of
from taudis.detector.card import read_card
from taudis.errors import CheckpointError


@dataclass(frozen=True)
class VersionRow:
    """One version, as a row of the table."""

    version: str
    round: str
    state: (
        str  # serves, order served, pinned, model serves, promoted, evaluated, damaged; "" for none
    )
    model: str  # the model that made its order
    labels: str  # number of training tasks + number of validation tasks of its model
    map50: str  # with its bootstrap interval
    recipe: str
    size: int  # bytes of the checkpoint, 0 for an order by an earlier model

    def cells(self) -> tuple[str, ...]:
        """The cells below HEADINGS."""
        size = f"{self.size / 1e6:.1f}" if self.size else ""
        model = "the same" if self.model == self.version else self.model
        head = (self.version, self.round, self.state, model)
        return *head, self.labels, self.map50, self.recipe, size

    def in_lines(self) -> str:
        """The row for a narrow terminal: the name, then each other cell that is not empty."""
        cells = zip(HEADINGS[1:], self.cells()[1:], strict=True)
        return "\n".join([self.version, *(f"    {name}: {cell}" for name, cell in cells if cell)])


HEADINGS = (
    *("version", "round", "state", "order by model"),
    *("labels", "mAP50 [95 %]", "recipe", "MB"),
)
WIDTH = 120
"""Least characters in a line of the terminal for a table whose cells are not broken."""


def as_table(rows: list[VersionRow]) -> Table:
    """The rows as a table. Other commands take a version's name, so it is never cut."""
    found = Table(Column(HEADINGS[0], no_wrap=True))
    for name in HEADINGS[1:]:
        found.add_column(name, overflow="fold")
    for row in rows:
        found.add_row(*map(escape, row.cells()))
    return found


def table(context: RoundContext) -> list[VersionRow]:
    """All kept orders and models, newest first."""
    orders = {row.version: row for row in context.store.versions(context.project_id)}
    kept = serving.kept_models(context.model_dir(""))
    numbers = {r.id: str(r.number) for r in context.store.rounds(context.project_id, limit=1000)}
    rows = []
    for version in sorted({*orders, *kept}, reverse=True):
        card, damage = _card(context, version) if version in kept else ({}, "")
        order = orders.get(version)
        number = numbers.get(order.round, "") if order else str(card.get("round", ""))
        rows.append(
            VersionRow(
                version,
                number,
                ", ".join(_states(context, version, card, damage)),
                (order.model if order else "no order") or "none yet",
                _labels(card),
                _map50(card),
                _recipe(card),
                size_of(context.model_dir(version)) if version in kept else 0,
            )
        )
    return rows


def _card(context: RoundContext, version: str) -> tuple[dict[str, Any], str]:
    """A verified card and "", or {} and the reason why it cannot be used."""
    try:
        return read_card(context.model_dir(version)), ""
    except CheckpointError as error:
        return {}, str(error)


def _states(context: RoundContext, version: str, card: dict[str, Any], damage: str) -> list[str]:
    state = context.load_project().state
    words = {
        "order served": state.serving,
        "pinned": state.pinned,
        "model serves": state.model,
        "promoted": state.promoted,
    }
    found = [word for word, named in words.items() if named == version]
    if card.get("evaluated", {}).get("serve") is False:
        found.append("evaluated, not served")
    return [*found, f"DAMAGED: {damage}"] if damage else found


def _labels(card: dict[str, Any]) -> str:
    left_out = (card.get("result") or {}).get("left_out")
    if left_out:
        found = Summary.from_json(left_out)
        left = f", {found.tasks} left out" if found.tasks else ""
        return f"{found.train} + {found.validation}{left}"
    splits = [entry["split"] for entry in entries(card)]
    return f"{splits.count('train')} + {splits.count('validation')}" if splits else ""


def entries(card: dict[str, Any]) -> list[dict[str, Any]]:
    """The entries of the snapshot that a model was trained with; none for an unfinished card."""
    return list((card.get("snapshot") or {}).get("entries") or ())


def _map50(card: dict[str, Any]) -> str:
    metrics = card.get("metrics") or {}
    if not isinstance(metrics.get("map50"), float):
        return ""
    low, high = metrics["interval"]
    return f"{metrics['map50']:.3f} [{low:.3f}, {high:.3f}]"


def _recipe(card: dict[str, Any]) -> str:
    recipe = card.get("recipe") or {}
    return f"{recipe['name']}, {recipe['steps']} steps" if recipe else ""


def card_of(context: RoundContext, version: str) -> dict[str, Any]:
    """The card of a version's model, with counts instead of the snapshot's long list of tasks.

    Raises:
        RoundError: no such model is kept.
        CheckpointError: the model is damaged; the message names the file.
    """
    card = read_card(
        context.model_dir(
            serving.model_of(context.store, context.project_id, context.model_dir(""), version)
        )
    )
    snapshot = dict(card.get("snapshot") or {})
    splits = [entry["split"] for entry in snapshot.pop("entries", ())]
    counts = {split: splits.count(split) for split in ("train", "validation")}
    return {**card, "snapshot": {**counts, **snapshot}}
