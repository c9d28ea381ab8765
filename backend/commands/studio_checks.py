"""The checks of `doctor` that concern several projects at once: the worker, and Label Studio.

Projects with the same address and token of Label Studio form a group. Each check runs once for a
group, so that a fault of Label Studio gives one line and not one for each project.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence

from backend.commands.machine_checks import Finding
from backend.errors import BackendError, SettingsError, StudioAuthError, StudioUnreachable
from backend.store.secrets import token_for, token_source
from backend.store.state import ProjectState
from backend.worker import connection
from backend.worker.context import RoundContext, origin_seen

_REACHABLE, _TOKEN, _ADDRESS = "Label Studio reachable", "access token", "address accepted"
_WHERE = "Account & Settings > Personal Access Token, or Legacy Token"


def state_of(context: RoundContext) -> ProjectState:
    """The project's state from the store; default values before it is connected."""
    known = context.store.project(context.project_id)
    return known.state if known else ProjectState()


def our_url(context: RoundContext) -> str:
    """The backend's address for Label Studio; a guess before it is connected."""
    armed = state_of(context).armed or {}
    seen = [armed.get("backend_url"), *sorted(connection.our_addresses(context))]
    return next((str(url) for url in seen if url), f"http://localhost:{context.settings.port}")


def examine_worker(contexts: Sequence[RoundContext]) -> Iterator[Finding]:
    """Whether a worker runs on the data directory. It must if a project is connected.

    No finding without projects.
    """
    if not contexts:
        return
    states = [state_of(each) for each in contexts]
    if contexts[0].store.worker_alive():
        yield Finding("worker", True, "runs")
        return
    waiting = [each for each in contexts if _waits_for_order(state_of(each))]
    if all(state.disconnected or state.gone for state in states):
        yield Finding("worker", True, "does not run, and no project is connected")
        return
    found = "no worker runs: the orders stay as they are, and no round starts"
    if waiting:
        found = f"no worker runs, and {_projects(waiting)} without an order"
    remedy = "Start it: `python -m backend serve` (or `worker`, beside a web process)."
    yield Finding("worker", False, found, remedy)


def _waits_for_order(state: ProjectState) -> bool:
    return not (state.serving or state.disconnected or state.gone)


def examine_studios(
    contexts: Sequence[RoundContext],
) -> Generator[Finding, None, list[RoundContext]]:
    """Check each Label Studio once. Returns the contexts whose Label Studio accepts the token."""
    groups: dict[tuple[str, str], list[RoundContext]] = {}
    for context in contexts:
        token = token_for(context.settings, context.project_id)
        groups.setdefault((_url_of(context), token), []).append(context)
    usable: list[RoundContext] = []
    for (url, token), members in groups.items():
        suffix = f" ({_numbers(members)})" if len(groups) > 1 else ""
        well = True
        for finding in _examine_one(members, url, token):
            well = well and (finding.well or finding.check not in (_REACHABLE, _TOKEN))
            yield Finding(finding.check + suffix, finding.well, finding.found, finding.remedy)
        usable += members if well else []
    return sorted(usable, key=lambda context: context.project_id)


def _examine_one(members: Sequence[RoundContext], url: str, token: str) -> Iterator[Finding]:
    """The checks of one Label Studio. Ends at the first failure of address or token."""
    context = members[0]
    for check in (_reachable, _token) if url and token else ():
        try:
            finding = check(context)
        except BackendError as error:
            finding = Finding(_TOKEN, False, str(error), "See the message.")
        yield finding
        if not finding.well:
            return
    if not url:
        remedy = "Set LABEL_STUDIO_URL, as this machine reaches it, for the backend and for doctor."
        yield Finding(_REACHABLE, False, "Label Studio's address is not known", remedy)
    elif not token:
        yield _no_token(context)
    else:
        yield from _address(members)
        yield from check_pages(members)


def _url_of(context: RoundContext) -> str:
    """Label Studio's address for a project; '' while it is unknown."""
    known = context.store.project(context.project_id)
    return context.settings.label_studio_url or (origin_seen(known) if known else "")


def _reachable(context: RoundContext) -> Finding:
    """Label Studio answers at its address."""
    try:
        found = f"{context.studio.url}, version {context.studio.version()}"
        return Finding(_REACHABLE, True, found)
    except StudioUnreachable as error:
        remedy = "Start Label Studio, or correct LABEL_STUDIO_URL (as this machine reaches it)."
        return Finding(_REACHABLE, False, str(error), remedy)
    except SettingsError as error:
        return Finding(_TOKEN, False, str(error), f"Copy it again ({_WHERE}).")


def _token(context: RoundContext) -> Finding:
    """Label Studio accepts the access token."""
    source = token_source(context.settings, context.project_id)
    try:
        user = context.studio.whoami()
    except StudioAuthError as error:
        remedy = error.remedy or f"Copy it again ({_WHERE})."
        return Finding(_TOKEN, False, f"{error.fault} It comes from {source}.", remedy)
    return Finding(_TOKEN, True, f"user {user.get('email') or user.get('username')}, by {source}")


def _no_token(context: RoundContext) -> Finding:
    """No token is known: where one would come from, and what to do."""
    sent = (
        "Label Studio sent none when the project was connected (it sends legacy tokens only, and"
        " they are off by default since 1.20)"
    )
    none = "no project is connected, for which Label Studio could have sent one"
    connected = bool(state_of(context).backend_urls)
    found = (
        "none is known: LABEL_STUDIO_API_KEY is not set where this command runs, and"
        f" {sent if connected else none}"
    )
    remedy = (
        f"Set LABEL_STUDIO_API_KEY and LABEL_STUDIO_URL ({_WHERE}), for the backend and in the"
        " shell of this command. If the backend has them already, only this shell lacks them."
    )
    return Finding(_TOKEN, False, found, remedy)


def _address(members: Iterable[RoundContext]) -> Iterator[Finding]:
    """Label Studio accepts the backend's address (by default it refuses private ones)."""
    by_url = {our_url(each): each for each in members if _is_asked(each)}
    remedy = (
        "Start Label Studio with SSRF_PROTECTION_ENABLED=false and ML_BLOCK_LOCAL_IP=false in its"
        " environment (only where its users are trusted). Narrower: leave both, and set"
        " USE_DEFAULT_BANNED_SUBNETS=false with USER_ADDITIONAL_BANNED_SUBNETS, as docs/faq.md has"
        " it. Or give the backend a public address."
    )
    for url, context in by_url.items():
        try:
            reasons = context.studio.refuses_address(url)
        except BackendError as error:
            yield Finding(_ADDRESS, False, str(error), "See the message.")
            continue
        if reasons:
            yield Finding(_ADDRESS, False, f"{url}: {'; '.join(reasons)}", remedy)
        else:
            yield Finding(_ADDRESS, True, url)


def _is_asked(context: RoundContext) -> bool:
    """Whether the check of addresses concerns this context: a project that is not disconnected."""
    return context.project_id > 0 and not state_of(context).disconnected


def check_pages(members: Sequence[RoundContext]) -> Iterator[Finding]:
    """Label Studio answers listings with pages of the usual size."""
    asked = [each for each in members if _is_asked(each)]
    messages = dict.fromkeys(state_of(each).pages for each in asked)
    remedy = "Everything works, more slowly. Label Studio's own log has the reason."
    for message in filter(None, messages):
        yield Finding("listings", False, message, remedy)
    if asked and not any(messages):
        yield Finding("listings", True, "pages of the usual size")


def _numbers(contexts: Sequence[RoundContext]) -> str:
    """The projects of contexts, such as "projects 1, 2"."""
    numbers = ", ".join(str(each.project_id) for each in contexts)
    return f"project {numbers}" if len(contexts) == 1 else f"projects {numbers}"


def _projects(contexts: Sequence[RoundContext]) -> str:
    """The projects of contexts with their verb, such as "projects 1, 2 are"."""
    return f"{_numbers(contexts)} {'is' if len(contexts) == 1 else 'are'}"
