"""The strategies of a grid. Each is a query strategy with settings and a name.

The command line lists them as entries separated by commas. The grammar of an entry:

    [NAME:]STRATEGY[@KEY=VALUE]...

    taudis                                   the strategy, with its own name
    taudis@T_F=0.3@alpha=5                   with settings; the name is this whole text
    sure:taudis@T_F=0.3                      with settings and the name `sure`
    taudis_paper                             a name in PRESETS
    screening                                every strategy and every preset

KEY is one of: a hyper-parameter (`python -m taudis parameters`); T_F, another word for least_score;
embedding, the branch of r_n (mask or box, for a Mask2Former mask or query); chooser, the model that
scores the pool (round: of the round before; all: of all training images).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import quote

from taudis.errors import DataError, SelectionError
from taudis.selection.parameter import Parameter
from taudis.selection.params import PARAMETERS, SelectionParams, read_params
from taudis.selection.strategies import STRATEGIES, Strategy, find
from taudis.types import Embedding

Chooser = Literal["round", "all"]
"""Whose scores a strategy reads: see `Preset.chooser`."""
SETTINGS = ("T_F", "embedding", "chooser")
"""Keys of an entry besides the hyper-parameters."""
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.+-]*")
NAME_BYTES = 200
"""Longest name; it is part of a file name, which may have 255 bytes."""
WORDS: Mapping[str, object] = MappingProxyType({"true": True, "false": False, "none": None})

PRESETS: Mapping[str, str] = MappingProxyType(
    {
        "taudis_paper": "taudis@sigma_rule=flat@remainder=uncertainty",
        "taudis_flat": "taudis@sigma_rule=flat",
        # Appendix C's alpha and beta of its two data sets.
        "taudis_coco": "taudis@alpha=150@beta=40",
        "taudis_overhead": "taudis@alpha=50@beta=30",
        "taudis_ce": "taudis@uncertainty=ce",
        "taudis_cm": "taudis@uncertainty=cm",
        "taudis_none": "taudis@remainder=none",
        "taudis_uncertainty": "taudis@remainder=uncertainty",
        "taudis_box": "taudis@embedding=box",
        "taudis_standardised": "taudis@standardise=true",
        "taudis_t03": "taudis@T_F=0.3",
        "taudis_t05": "taudis@T_F=0.5",
        "taudis_budget": "taudis@sigma_rule=budget",
        "taudis_sum": "taudis@vote=uncertainty",
        "taudis_sketch": "taudis@sketch=always",
        "taudis_guaranteed": "taudis@sketch=guaranteed",
        "taudis_scale": "taudis@alpha_rule=detections",
        "taudis_scale_t03": "taudis@alpha_rule=detections@T_F=0.3",
        "taudis_one": "taudis@candidates_per_image=1",
        "taudis_three": "taudis@candidates_per_image=3",
        "taudis_objects": "taudis@weighting=score",
        "taudis_foreground": "taudis@weighting=foreground",
        "taudis_balanced": "taudis@balanced=true",
        # Without uncertainty: every image, or every detection with a score of 0.3, is a candidate.
        "taudis_img_all": "taudis_img@alpha_img=1000000",
        "cover_all_t03": "taudis_cover@T_F=0.3@alpha=1000000",
        "wse_t03": "wse@T_F=0.3",
        "cover_t03": "taudis_cover@T_F=0.3",
        "cover_one": "taudis_cover@candidates_per_image=1",
        "cover_scale": "taudis_cover@alpha_rule=detections",
        "cover_objects": "taudis_cover@alpha_rule=detections@weighting=score",
        "cover_balanced": "taudis_cover@alpha_rule=detections@balanced=true",
        "uncovered_scale": "taudis_uncovered@alpha_rule=detections",
        "cover_uncovered_scale": "taudis_cover_uncovered@alpha_rule=detections",
        "cost_scale": "taudis_cover_cost@alpha_rule=detections",
        "cost_scale_t03": "taudis_cover_cost@alpha_rule=detections@T_F=0.3",
        "cost_objects": "taudis_cover_cost@alpha_rule=detections@weighting=score",
    }
)
"""Ablations of `taudis` and variants beyond the paper: name -> entry in the grammar above."""
SCREENING = "screening"
"""The entry for every strategy and every preset."""


@dataclass(frozen=True)
class Preset:
    """A query strategy with its settings. Raises SelectionError for unsupported settings."""

    name: str
    strategy: str
    params: SelectionParams
    embedding: Embedding = "mask"
    chooser: Chooser = "round"
    """The model that scores the pool: of the round before, or of all training images of the seed.

    `all` shows what the strategy would choose with a good model. It has seen all labels, so it is
    no strategy for unlabelled images.
    """

    def __post_init__(self) -> None:
        if len(quote(self.name, safe="@=+")) > NAME_BYTES:
            raise SelectionError(
                f"{self.name}: expected a name of at most {NAME_BYTES} bytes. Put a short one in"
                " front: NAME:STRATEGY@KEY=VALUE."
            )
        self.query.check(self.params)

    @property
    def query(self) -> Strategy:
        """The query strategy."""
        return find(self.strategy)

    @property
    def reads_pool(self) -> bool:
        """Whether it reads more of the pool than the image ids."""
        return bool(self.query.detections) or self.query.image_embeddings

    def to_dict(self) -> dict[str, Any]:
        """The settings, for JSON."""
        return {
            "strategy": self.strategy,
            "params": dataclasses.asdict(self.params),
            "embedding": self.embedding,
            # Left out by default, so that the rows of older builds have equal settings.
            **({"chooser": self.chooser} if self.chooser != "round" else {}),
        }

    @classmethod
    def from_dict(cls, name: str, found: Mapping[str, Any]) -> Preset:
        """The inverse of `to_dict`. Raises DataError for anything else.

        Older runs have T_F beside the hyper-parameters, and no least_score.
        """
        try:
            params = dict(found["params"])
            params.setdefault("least_score", found.get("T_F", 0.0))
            embedding = _embedding(name, found["embedding"])
            chooser = _chooser(name, found.get("chooser", "round"))
            return cls(name, found["strategy"], SelectionParams(**params), embedding, chooser)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{name}: expected the settings of a strategy: {error}.") from error


def read_presets(text: str, base: SelectionParams) -> tuple[Preset, ...]:
    """The entries of a comma-separated list. base: the settings that an entry does not set.

    Raises SelectionError for a wrong entry, and for a repeated name.
    """
    named = [entry.strip() for entry in text.split(",") if entry.strip()]
    every = (*STRATEGIES, *PRESETS)
    entries = [each for entry in named for each in (every if entry == SCREENING else (entry,))]
    found = tuple(_preset(entry, base) for entry in entries)
    names = [preset.name for preset in found]
    again = sorted({name for name in names if names.count(name) > 1})
    if again or not found:
        got = f"{', '.join(again)} twice" if again else "none"
        raise SelectionError(f"--strategies: expected different strategies, got {got}.")
    return found


def base_params(source: str) -> SelectionParams:
    """Hyper-parameters from KEY=VALUE,... or from an argument of `read_params`.

    Raises SelectionError.
    """
    if "=" not in source:
        return read_params(source)
    pairs = (_pair(each, source) for each in source.split(",") if each)
    return dataclasses.replace(SelectionParams(), **{k: _value(k, v) for k, v in pairs})


def _preset(entry: str, base: SelectionParams) -> Preset:
    """The preset of one entry. Raises SelectionError."""
    head, *settings = entry.split("@")
    name, colon, strategy = head.rpartition(":")
    if colon and not NAME.fullmatch(name):
        raise SelectionError(
            f"{entry}: expected NAME:STRATEGY@KEY=VALUE with a name of letters, digits and _.+-,"
            f" got the name {name!r}."
        )
    if strategy in PRESETS:  # settings of the entry override those of the preset
        name = name or entry
        strategy, *own = PRESETS[strategy].split("@")
        settings = [*own, *settings]
    find(strategy)
    pairs = dict(_pair(each, entry) for each in settings)
    embedding = _embedding(entry, pairs.pop("embedding", "mask"))
    chooser = _chooser(entry, pairs.pop("chooser", "round"))
    params = dataclasses.replace(base, **{key: _value(key, text) for key, text in pairs.items()})
    return Preset(name or entry, strategy, params, embedding, chooser)


def _embedding(entry: str, text: str) -> Embedding:
    """The branch of the embedding. Raises SelectionError for another word."""
    if text == "mask":
        return "mask"
    if text == "box":
        return "box"
    if text == "query":
        return "query"
    raise SelectionError(f"{entry}: expected embedding=mask, box or query, got {text!r}.")


def _chooser(entry: str, text: str) -> Chooser:
    """The model that chooses. Raises SelectionError for another word."""
    if text == "round":
        return "round"
    if text == "all":
        return "all"
    raise SelectionError(f"{entry}: expected chooser=round or all, got {text!r}.")


def _pair(text: str, entry: str) -> tuple[str, str]:
    """(key, value) of KEY=VALUE. Raises SelectionError."""
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise SelectionError(f"{entry}: expected KEY=VALUE, got {text!r}.")
    key = key.strip()
    return "least_score" if key == "T_F" else key, value.strip()


def _value(key: str, text: str) -> Any:
    """The value of a hyper-parameter. Raises SelectionError for an unknown key or a wrong number.

    `SelectionParams` checks the type and the range.
    """
    known: dict[str, Parameter] = {each.name: each for each in PARAMETERS}
    if key not in known:
        raise SelectionError(f"expected one of {', '.join((*known, *SETTINGS))}, got {key!r}.")
    if known[key].kind is str:
        return text
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    try:
        return int(text) if known[key].kind is int else float(text)
    except ValueError:
        raise SelectionError(f"{key}: expected {known[key].expected}, got {text!r}.") from None
