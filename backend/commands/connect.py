"""Connects a project from the shell, like the form on Label Studio's Model page."""

from __future__ import annotations

from backend.errors import RoundError
from backend.worker.connection import our_backend, use_our_order
from backend.worker.context import RoundContext


def connect_backend(context: RoundContext, title: str) -> int:
    """Add this backend to the project, unless it is there already. Returns its id in Label Studio.

    The worker then sets up the webhook, the sampling and the first order. Nothing is stored until
    Label Studio has shown the project and accepted the backend.

    Raises:
        SettingsError: Label Studio's address or access token is unknown.
        StudioNotFound: Label Studio has no such project, or does not show it to our user.
        StudioRejected: Label Studio refused; the message has its reason.
    """
    project = context.studio.project(context.project_id)
    known = context.store.project(context.project_id)
    if known is not None and known.state.armed:  # the worker would keep a person's changes
        use_our_order(context, project)
    try:
        row = our_backend(context)
    except RoundError:
        settings = context.settings
        row = context.studio.create_ml_backend(
            context.project_id,
            url=settings.backend_url or f"http://localhost:{settings.port}",
            title=title,
            user=settings.basic_auth_user,
            password=settings.basic_auth_pass.get_secret_value(),
        )
    context.store.update_project(context.project_id, disconnected=False)
    context.store.record_event(context.project_id, "setup")
    return int(row["id"])
