"""docs/api.md is the page that the script prints, and every name on it has a docstring."""

import importlib
import inspect
from operator import attrgetter
from pathlib import Path

import pytest

from tests.api_reference import PAGES, first_sentence, page, signature

PAGE = Path(__file__).resolve().parents[1] / "docs" / "api.md"


def test_the_page_is_what_the_script_prints() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "run `.venv/bin/python -m tests.api_reference > docs/api.md`"
    )


@pytest.mark.parametrize("module", PAGES)
def test_every_name_of_the_page_says_what_it_is(module: str) -> None:
    for name in PAGES[module][1]:
        found = attrgetter(name)(importlib.import_module(module))
        assert first_sentence(found).endswith((".", ":")), f"{module}.{name} needs a first sentence"
        assert inspect.getdoc(found) != inspect.getdoc(object), name


def test_a_sentence_ends_with_its_full_stop_not_with_that_of_an_equation() -> None:
    def measured(a: int, *, b: str = "x" * 40) -> float:
        """CM of each (Eq. 1). Low is unsure.

        Raises:
            DataError: never.
        """
        return a + len(b)

    assert first_sentence(measured) == "CM of each (Eq. 1)."
    assert signature("measured", measured) == "measured(a: int, *, b: str = ...) -> float"
