"""What our study says about an order. Its words on `taudis` are those of README and docs/results.

tests/benchmarks/test_study.py holds the three to the same words, and the words to the rows.
"""

from __future__ import annotations

EVIDENCE = (
    "Our study tested this order on two data sets, with six paired seeds each: it was neither"
    " better nor worse than a random order beyond the 95 % interval. Two more sets have five paired"
    " seeds each. On one it saved 17 % (11 to 36) of the images, no saving of objects was shown,"
    " and images drawn at random by their number of detected objects saved 34 % (25 to 42). On the"
    " other it was neither better nor worse."
)
WSE = (
    "Our study tested this order on two data sets, with six paired seeds each: on one it was worse"
    " than a random order beyond the 95 % interval, on the other neither better nor worse."
)
NOT_TESTED = "Our study did not test this order with enough seeds to say whether it saves labels."
OTHER_PARAMETERS = (
    "Our study tested this order with the built-in hyper-parameters, not with those of SELECTION."
)
RANDOM = ("random", "foreground_random")
"""Strategies that choose at random: what the others are compared with."""


def evidence(strategy: str, *, own_parameters: bool = False) -> str:
    """The sentence for a query strategy; '' for a strategy that chooses at random.

    own_parameters: SELECTION is not `default`.
    """
    if strategy in RANDOM:
        return ""
    found = {"taudis": EVIDENCE, "wse": WSE}.get(strategy, NOT_TESTED)
    return OTHER_PARAMETERS if own_parameters and strategy == "taudis" else found
