"""The names of all settings, and the table of them in docs/settings.md."""

from __future__ import annotations

from pydantic import AliasChoices, SecretStr

from backend.moved_settings import MOVED
from backend.settings import Settings


def setting_names() -> set[str]:
    """Every environment variable that is a setting, or was one and is refused now."""
    found = set(MOVED)
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        known = alias.choices if isinstance(alias, AliasChoices) else [name.upper()]
        found |= {str(choice) for choice in known}
    return found


def settings_table() -> str:
    """Every setting as a Markdown table: name, default, meaning (the table of docs/settings.md)."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        names = (
            [str(choice) for choice in alias.choices]
            if isinstance(alias, AliasChoices)
            else [name.upper()]
        )
        default = field.default
        if isinstance(default, SecretStr) or default in (None, "", ()):
            default = ""
        cell = f"`{default}`" if default != "" else ""
        also = f" (or `{names[1]}`)" if len(names) > 1 else ""
        rows.append(f"| `{names[0]}`{also} | {cell} | {field.description} |")
    return "\n".join(rows)
