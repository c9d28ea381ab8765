"""The options of `select` and `why` that set hyper-parameters, derived from `SelectionParams`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

import typer

from taudis.selection.parameter import Parameter
from taudis.selection.params import PARAMETERS, SelectionParams

PANEL = "Hyper-parameters"
"""The heading of these options in the help text."""

PAPER = typer.Option(
    "--paper",
    help="Take the paper's hyper-parameters; options that are given change them.",
    rich_help_panel=PANEL,
)


def with_selection_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command with `--paper` and an option for each hyper-parameter.

    command: a function with an argument `params: SelectionParams`. typer reads the options of a
    command from its signature, so this function makes a signature with these options instead of
    `params`. An option that is not given has the default, or with `--paper` the paper's value.
    """
    signature = inspect.signature(command, eval_str=True)
    options = {each.name: _option(each) for each in PARAMETERS}
    arguments: list[inspect.Parameter] = []
    for argument in signature.parameters.values():
        if argument.name == "params":
            arguments += [*options.values(), _argument("paper", Annotated[bool, PAPER], False)]
        else:  # keyword-only, so that arguments with and without a default may be in any order
            arguments.append(argument.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def run(*, paper: bool, **given: Any) -> None:
        values = {name: given.pop(name) for name in options}
        command(params=params_of(paper, values), **given)

    run.__signature__ = signature.replace(parameters=arguments)  # type: ignore[attr-defined]
    run.__annotations__ = {argument.name: argument.annotation for argument in arguments}
    return run


def params_of(paper: bool, given: dict[str, Any]) -> SelectionParams:
    """The defaults or the paper's values, with changes for the given options (not None).

    Raises SelectionError for values out of range.
    """
    base = SelectionParams.paper() if paper else SelectionParams()
    units = {each.name: each.meaning.unit for each in PARAMETERS}
    changed = {
        name: value * units[name] if units[name] > 1 else value
        for name, value in given.items()
        if value is not None
    }
    return replace(base, **changed)


def _option(parameter: Parameter) -> inspect.Parameter:
    """The option of a hyper-parameter, as an argument of a command with the default None."""
    name = f"--{parameter.option}"
    if parameter.kind is bool:
        name += f"/--no-{parameter.option}"
    option = typer.Option(name, help=_help(parameter), rich_help_panel=PANEL)
    return _argument(parameter.name, Annotated[parameter.kind | None, option], None)


def _argument(name: str, annotation: object, default: object) -> inspect.Parameter:
    """A keyword-only argument of a command."""
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _help(parameter: Parameter) -> str:
    """The meaning with the default, in the unit of the option."""
    text, default, unit = parameter.meaning.text, parameter.default, parameter.meaning.unit
    if unit > 1 and isinstance(default, int):
        return f"{text} In units of {unit:,}; default: {default // unit:,}."
    if parameter.kind is bool:
        return text
    if default is None:  # the meaning explains None
        return text.replace("None:", "Default:")
    return f"{text} Default: {default}."
