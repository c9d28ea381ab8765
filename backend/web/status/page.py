"""The HTML of the status page. The templates escape every value from outside."""

from __future__ import annotations

import hashlib
import time
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from backend.store import live_words
from backend.store.projects import Project
from backend.web import forms
from backend.web.predict import Services
from backend.web.status.now import now_of
from backend.web.status.overview import overview
from backend.web.status.project import stamp_of, title_of, view
from backend.web.status.ready import not_ready
from backend.web.status.words import moment

FOLDER = Path(__file__).parent
ASSETS = {"page.css": "text/css", "page.js": "text/javascript"}


def overview_page(services: Services, *, by_label: int | None = None) -> str:
    """The first page: the overview, or the project's page if there is only one project.

    `by_label`: the project whose live evaluation has a row for each label.
    """
    projects = services.store.projects()
    if len(projects) == 1:
        (project,) = projects
        return project_page(services, project, by_label=by_label == project.id)
    return _rendered(
        "overview.html", services, overview=overview(services, projects), projects=len(projects)
    )


def project_page(
    services: Services,
    project: Project,
    *,
    by_label: bool = False,
    before: int | None = None,
    done: str = "",
) -> str:
    """The page of one project. `done`: a sentence about the form that led here, or ''."""
    return _rendered(
        "project.html",
        services,
        project=view(services, project, by_label=by_label, before=before),
        projects=len(services.store.projects()),
        token=forms.token(services.settings, project.id),
        done=done,
        live_headings=live_words.HEADINGS,
    )


def overview_parts(services: Services) -> str:
    """The parts of the overview that the script keeps up to date."""
    found = overview(services, services.store.projects())
    return _rendered("overview_parts.html", services, overview=found)


def project_parts(services: Services, project: Project) -> str:
    """The parts of a project's page that the script keeps up to date."""
    rounds = services.store.rounds(project.id, 2)
    ended = next((r.number for r in rounds if r.ended is not None), 0)
    return _rendered(
        "project_parts.html",
        services,
        id=project.id,
        title=title_of(project),
        now=now_of(
            project.state,
            rounds,
            services.settings.changes_per_round,
            arms=bool(services.settings.control_share),
        ),
        stamp=stamp_of(services, project, ended),
        token=forms.token(services.settings, project.id),
    )


def refused_page(services: Services, reason: str, back: str) -> str:
    """The page of a refused form, with the reason. `back`: the path of the form's page."""
    return _rendered("refused.html", services, reason=reason, back=back)


def _rendered(name: str, services: Services, **values: Any) -> str:
    """A rendered template, with the values that all templates need."""
    return (
        _templates()
        .get_template(name)
        .render(
            reasons=not_ready(services.store),
            made=moment(time.time()),
            assets={asset: fingerprint(asset) for asset in ASSETS},
            **values,
        )
    )


@cache
def _templates() -> Environment:
    """The templates, compiled once."""
    return Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


@cache
def asset(name: str) -> bytes:
    """The style sheet or the script."""
    return (FOLDER / "assets" / name).read_bytes()


@cache
def fingerprint(name: str) -> str:
    """A hash of the asset's bytes for its address, so that browsers may cache it."""
    return hashlib.sha256(asset(name)).hexdigest()[:16]
