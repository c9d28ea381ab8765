"""Decides which address is Label Studio's. The access token is sent only to that address.

Label Studio names its address in its /setup call. It is accepted if it equals LABEL_STUDIO_URL. If
that is not set, the address in the project's first /setup call is accepted.
"""

from __future__ import annotations

from backend.label_studio.addresses import is_loopback_address, normal_address, same_origin
from backend.settings import Settings
from backend.store.projects import Project
from backend.web.requests import RequestRefused, excerpt


def accept(settings: Settings, project: Project | None, hostname: str) -> str:
    """The address to remember as the project's candidate; '' if one is known or configured.

    Label Studio names a loopback address if it does not know its address (the default, even in a
    container). If LABEL_STUDIO_URL is set, such an address is ignored.

    Raises:
        RequestRefused: 409 if the address differs from the known address; 400 if it is unusable,
            or missing while none is known.
    """
    address = _normal(hostname) if hostname.strip() else ""
    if settings.label_studio_url:
        known = _normal(settings.label_studio_url)
        if address and is_loopback_address(address):
            return ""
        public = settings.label_studio_public_url
        if address and public and same_origin(_normal(public), address):
            return ""
    else:
        known = _known(project)
    if not known and not address:
        raise RequestRefused(
            400,
            "hostname: expected Label Studio's address, got none. Set LABEL_STUDIO_URL for this"
            " backend, or LABEL_STUDIO_HOST for Label Studio.",
        )
    if known and address and not same_origin(known, address):
        raise RequestRefused(
            409,
            f"hostname: expected {known}, got {excerpt(address)}: this backend talks to one Label"
            " Studio a project. If this is the name that people use for it, set"
            " LABEL_STUDIO_PUBLIC_URL for this backend; if it has moved, LABEL_STUDIO_URL.",
        )
    return "" if known else address


def _known(project: Project | None) -> str:
    """The confirmed address of a project, else its candidate, else ''."""
    if project is None:
        return ""
    found = project.origin or project.state.candidate_origin
    return _normal(found) if found else ""


def _normal(address: str) -> str:
    """The address in one spelling. Raises RequestRefused (400) if it cannot be Label Studio's."""
    try:
        return normal_address(address)
    except ValueError:
        raise RequestRefused(
            400, f"hostname: expected http(s)://host[:port], got {excerpt(address)}."
        ) from None
