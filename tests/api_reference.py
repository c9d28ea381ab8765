"""Prints docs/api.md: the public names for researchers and authors of adapters.

`python -m tests.api_reference > docs/api.md` writes the page; tests/test_api_reference.py compares.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import sys
from operator import attrgetter
from typing import Any

PAGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "taudis.types": (
        "The data types of the whole library. Each checks its arrays at construction.",
        ("LabelMap", "Target", "Instances", "Detection", "Uncertainty", "Pool", "Selection"),
    ),
    "taudis.detector.adapter": (
        "The interface for other models ([adapters](adapters.md)).",
        (
            "Adapter",
            "Adapter.label_map",
            "Adapter.embedding_width",
            "Adapter.image_embedding_width",
            "Adapter.detect",
            "check_adapter",
            "class_probs_of_sigmoids",
        ),
    ),
    "taudis.scoring": (
        "Runs a model over images and makes the pool.",
        ("score_images", "score_pool", "score_to_file", "join_pools", "empty_pool", "mask_areas"),
    ),
    "taudis.data.pool_reader": (
        "Pool files ([format](pools.md)).",
        ("load_pool", "read_header", "save_pool"),
    ),
    "taudis.data.pool_writer": (
        "Pool files, written part by part.",
        ("PoolWriter", "PoolWriter.append"),
    ),
    "taudis.selection.strategies": (
        "Which images to label next ([the strategies](strategies.md)).",
        ("query", "find", "Strategy", "QueryStrategy"),
    ),
    "taudis.selection.params": (
        "Hyper-parameters ([the table](strategies.md#hyper-parameters)).",
        ("SelectionParams", "Labelled", "read_params"),
    ),
    "taudis.selection.uncertainty": (
        "Equations 1 to 3 of the paper.",
        (
            "classification_margin",
            "classification_entropy",
            "segmentation_entropy",
            "uncertainty_of",
        ),
    ),
    "taudis.selection.algorithm1": (
        "Algorithm 1 of the paper.",
        ("taudis", "algorithm_1"),
    ),
    "taudis.selection.graph": (
        "Algorithm 1 line 6, the similarity graph.",
        ("Graph", "similarity_graph"),
    ),
    "taudis.selection.cover": (
        "Algorithm 1 line 7, the greedy maximum cover.",
        ("Cover", "greedy_cover"),
    ),
    "taudis.selection.vote": (
        "Algorithm 1 line 8, the majority vote.",
        ("Ranking", "count_votes", "rank_images"),
    ),
    "taudis.evaluation.metrics": (
        "mAP by the COCO protocol ([evaluation](evaluation.md)).",
        ("evaluate", "evaluated_images", "metrics_of", "Metrics", "confusion"),
    ),
    "taudis.evaluation.matching": (
        "Matching of detections with objects.",
        ("EvaluatedImage", "match", "Matching"),
    ),
    "taudis.evaluation.comparison": (
        "Comparison of two models on the same images.",
        ("compare", "compare_images", "paired", "Comparison"),
    ),
    "taudis.evaluation.resampling": (
        "Intervals of mAP50 by bootstrap over images.",
        ("map50_interval", "difference_interval"),
    ),
    "taudis.evaluation.thresholds": (
        "Score thresholds of pre-annotations with the least correction cost.",
        ("choose_thresholds", "Savings"),
    ),
    "taudis.evaluation.next_labels": (
        "The expected gain of the next labels ([when to stop](when_to_stop.md)).",
        ("CurveSoFar", "expected_gain", "Expected"),
    ),
}
"""Module -> the sentence above its names, and the names in that order."""

HEAD = """# API reference

The public names for researchers and authors of adapters: signature and first sentence. The
docstrings have shapes, units, ranges and errors, for example `help(taudis.scoring.score_to_file)`.
`taudis/__init__.py` explains the axis letters. `python -m tests.api_reference` writes this page; a
test fails if it differs.
"""
FIELDS = 8
"""A data type with more fields is printed with their names alone."""


def first_sentence(found: Any) -> str:
    """The first sentence of a docstring, on one line; "Eq. 1" ends none."""
    text = " ".join((inspect.getdoc(found) or "").split("\n\n")[0].split())
    return re.split(r"(?<=\.)(?<!Eq\.)\s", text, maxsplit=1)[0]


def annotation(hint: Any) -> str:
    """A type as the source writes it."""
    if hint is inspect.Parameter.empty:
        return ""
    return hint if isinstance(hint, str) else getattr(hint, "__name__", str(hint))


def parameter(one: inspect.Parameter) -> str:
    """A parameter with its type and its default, if that is short."""
    star = {one.VAR_POSITIONAL: "*", one.VAR_KEYWORD: "**"}.get(one.kind, "")
    text = star + one.name
    if hint := annotation(one.annotation):
        text += f": {hint}"
    if one.default is one.empty:
        return text
    default = repr(one.default)
    readable = len(default) <= 12 and not default.startswith("<")
    return f"{text} = {default}" if readable else f"{text} = ..."


def signature(name: str, found: Any) -> str:
    """A function's or a data type's signature on one line."""
    if getattr(found, "_is_protocol", False) or not callable(found):
        return name  # a protocol's members follow it; properties take nothing
    parts = inspect.signature(found)
    rows = [one for one in parts.parameters.values() if one.name != "self"]
    if dataclasses.is_dataclass(found) and len(rows) > FIELDS:
        return f"{name}({', '.join(one.name for one in rows)})"
    words: list[str] = []
    for one in rows:
        if one.kind is one.KEYWORD_ONLY and "*" not in words:
            words.append("*")
        words.append(parameter(one))
    back = "" if inspect.isclass(found) else annotation(parts.return_annotation)
    return f"{name}({', '.join(words)})" + (f" -> {back}" if back else "")


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for module_name, (above, names) in PAGES.items():
        module = importlib.import_module(module_name)
        lines += [f"## `{module_name}`", "", above, ""]
        for name in names:
            found = attrgetter(name)(module)
            lines += [f"- `{signature(name, found)}`:", f"  {first_sentence(found)}"]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(page())
