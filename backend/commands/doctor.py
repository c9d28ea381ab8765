"""`python -m backend doctor`: checks everything that the order depends on, and names remedies.

Each check is a function that returns a `Finding`. Checks of the machine, the worker and Label
Studio come first and once, so that one cause gives one line (`machine_checks`, `studio_checks`).
"""

from __future__ import annotations

from collections.abc import Iterator

from backend.commands.machine_checks import Finding, examine_machine
from backend.commands.studio_checks import examine_studios, examine_worker, our_url, state_of
from backend.errors import (
    BackendError,
    LabelConfigError,
    RoundError,
    StudioAuthError,
    StudioNotFound,
)
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.left_out import Summary, latest_summary
from backend.label_studio.queue import SAMPLING
from backend.settings import Settings
from backend.store import serving as models
from backend.worker import connection
from backend.worker.changes_by_person import order_deleted
from backend.worker.context import RoundContext
from taudis.detector.card import read_card
from taudis.errors import CheckpointError

UNREACHED = ("Disconnected", "Error")
"""States of a backend that Label Studio could not reach. It tries at each listing."""


def examine(
    settings: Settings, contexts: list[RoundContext], without: RoundContext
) -> Iterator[Finding]:
    """All checks: those that concern every project, once; then those of each project.

    A project is examined further only if its Label Studio answers and accepts the token. An error
    in one project becomes a finding. `without`: a context without a project, to check Label Studio
    if there are no projects.
    """
    yield from examine_machine(settings)
    yield from examine_worker(contexts)
    if not contexts and not settings.label_studio_url:
        known = "LABEL_STUDIO_URL is not set: the first project's Model page will give the address"
        yield Finding("Label Studio reachable", True, known)
        return
    usable = yield from examine_studios(contexts or [without])
    for context in usable if contexts else ():
        try:
            yield from examine_project(context)
        except BackendError as error:
            yield Finding(f"project {context.project_id}", False, str(error), "See the message.")


def examine_project(context: RoundContext) -> Iterator[Finding]:
    """Check one project. A check comes before the checks that depend on it."""
    finding = _project(context)
    yield finding
    if finding.well and state_of(context).disconnected:
        again = f"`python -m backend connect --project {context.project_id}` connects it again"
        yield Finding("connection", True, f"a person disconnected the project; {again}")
    elif finding.well:
        for check in (
            _label_config, _backend, _webhook, _title, _sampling, _tasks_before,
            _version, _models, _labels, _images,
        ):  # fmt: skip
            yield check(context)


def _project(context: RoundContext) -> Finding:
    """The project exists and the token's user may see it."""
    name = f"project {context.project_id}"
    try:
        return Finding(name, True, str(context.studio.project(context.project_id)["title"]))
    except (StudioNotFound, StudioAuthError) as error:
        remedy = "Check the number in the project's address, and that the token's user sees it."
        return Finding(name, False, str(error), remedy)


def _label_config(context: RoundContext) -> Finding:
    """The labelling config has an image, and labels for masks."""
    try:
        config = parse_label_config(context.studio.project(context.project_id)["label_config"])
    except LabelConfigError as error:
        return Finding(
            "labelling config", False, str(error), "Settings > Labeling Interface > Code."
        )
    if config.scores_only:
        remedy = "Change the labelling config, or leave it: then people draw every mask themselves."
        return Finding("labelling config", False, config.scores_only, remedy)
    return Finding("labelling config", True, config.in_words())


def _backend(context: RoundContext) -> Finding:
    """The project has an ML backend with this backend's address."""
    name = "backend connected"
    try:
        row = connection.our_backend(context)
    except RoundError as error:
        remedy = "Settings > Model > Connect Model, or `python -m backend connect`."
        return Finding(name, False, str(error), remedy)
    state = str(row.get("readable_state"))
    found = f"{row['url']} (state {state})"
    if state in UNREACHED:
        remedy = "Label Studio got no answer there. Check that the backend runs (`serve`)."
        return Finding(name, False, found, remedy)
    return Finding(name, True, found)


def _webhook(context: RoundContext) -> Finding:
    """Label Studio posts label changes to this backend, with its credentials."""
    url = our_url(context)
    wanted = connection.webhook_fields(context.settings, url, context.project_id)
    rows = connection.our_webhooks(context, url)
    remedy = "The worker restores it at its next poll. Check that it runs, or `connect` again."
    if not rows:
        return Finding("webhook", False, f"no webhook to {wanted['url']}", remedy)
    wrong = [key for key in wanted if not connection.webhook_is_armed(rows[0], {key: wanted[key]})]
    if "headers" in wrong and wanted["headers"]:
        return Finding("webhook", False, "it has not this backend's Authorization header", remedy)
    if wrong or len(rows) > 1:
        found = f"{len(rows)} rows, differing in {', '.join(wrong) or 'nothing'}"
        return Finding("webhook", False, found, remedy)
    return Finding("webhook", True, wanted["url"])


def _title(context: RoundContext) -> Finding:
    """No ML backend has a version's name as title, which would make Label Studio's order random."""
    rows = context.studio.model_versions(context.project_id)
    versions = {version for version, count in rows.items() if count}
    if state_of(context).serving:  # before the first order, the version is the backend's title
        versions.add(context.studio.project(context.project_id).get("model_version") or "")
    titles = [row.get("title") or "" for row in context.studio.ml_backends(context.project_id)]
    clash = [title for title in titles if title and title in versions]
    if clash:
        remedy = "Settings > Model: give the backend another title, such as TAUDIS."
        found = f"backend title {clash[0]!r} equals a model version: the queue is random"
        return Finding("backend title", False, found, remedy)
    return Finding("backend title", True, ", ".join(titles) or "none")


def _sampling(context: RoundContext) -> Finding:
    """The project's task sampling follows the prediction scores."""
    found = context.studio.project(context.project_id).get("sampling")
    remedy = "Settings > Annotation > Task Sampling: Uncertainty sampling; or `connect` again."
    return Finding(
        "task sampling", found == SAMPLING, str(found), "" if found == SAMPLING else remedy
    )


def _tasks_before(context: RoundContext) -> Finding:
    """No setting of the project makes Label Studio serve other tasks before the order."""
    project = context.studio.project(context.project_id)
    found = []
    if project.get("annotator_evaluation_enabled"):
        found.append("annotator_evaluation_enabled: tasks with a ground truth are served first")
    if project.get("show_overlap_first") and (project.get("maximum_annotations") or 1) > 1:
        found.append("show_overlap_first: tasks that several people label are served first")
    if not found:
        return Finding("tasks before the order", True, "none")
    remedy = (
        "Leave it, if that is meant: the other tasks follow in our order. Else switch the named"
        f" field off, by PATCH /api/projects/{context.project_id}/ of Label Studio's API."
    )
    return Finding("tasks before the order", False, "; ".join(found), remedy)


def _version(context: RoundContext) -> Finding:
    """The project serves the version that this backend switched it to, and it has predictions."""
    state = state_of(context)
    serving = state.serving
    project = context.studio.project(context.project_id)
    current = project.get("model_version") or ""
    if not serving:
        return _no_order_yet(context)
    rows = context.studio.model_versions(context.project_id)
    if gone := order_deleted(project, state, rows):
        remedy = "The worker makes a new order at its next poll. Check that it runs."
        if "`unpin`" in gone:
            remedy = "`python -m backend unpin`."
        return Finding("served order", False, gone, remedy)
    if current != serving:
        remedy = "Settings > Annotation: choose it, or `python -m backend unpin`."
        return Finding(
            "served order",
            False,
            f"{repr(current) if current else 'no version'}, ours is {serving!r}",
            remedy,
        )
    pinned = " (pinned)" if state.pinned else ""
    return Finding("served order", True, f"{serving}{pinned}")


def _no_order_yet(context: RoundContext) -> Finding:
    """Before the first order: whether a round makes it, or the remedy."""
    rounds = context.store.rounds(context.project_id, 1)
    if not context.store.worker_alive():  # `examine_worker` has the failure
        return Finding("served order", True, "none yet: no worker runs")
    if rounds and rounds[0].ended is None:
        found = f"none yet: round {rounds[0].number} makes the first; the status page has the rest"
        return Finding("served order", True, found)
    if rounds and rounds[0].steps.get("synced", {}).get("pool") == 0:
        return Finding("served order", True, "none: no task is without a label")
    remedy = "The worker begins automatically. If it does not, the status page has the reason."
    return Finding("served order", False, "no order was published yet", remedy)


def _models(context: RoundContext) -> Finding:
    """All kept checkpoints, and the serving checkpoint, are undamaged."""
    name = "model files"
    known = context.store.project(context.project_id)
    serving = models.serving_model(known.state) if known else ""
    kept, damaged = models.kept_models(context.model_dir("")), []
    for version in kept if serving in {*kept, ""} else [serving, *kept]:
        try:
            read_card(context.model_dir(version))
        except CheckpointError as error:
            serves = ", which serves" if version == serving else ""
            damaged.append(f"{version}{serves}: {error}")
    if not damaged:
        return Finding(name, True, f"{len(kept)} kept, all whole")
    remedy = (
        "An earlier model stands in for one that cannot be read. Restore the file from a backup, or"
        " press Start Training; `python -m backend versions` lists what is kept."
    )
    return Finding(name, False, "; ".join(damaged), remedy)


def _labels(context: RoundContext) -> Finding:
    """The last training used every labelled task."""
    found = latest_summary(state_of(context).left_out, "labels")
    if found is None:
        return Finding("labels", True, "no training has read them yet")
    used = f"round {found.round}: {found.split()}"
    if not found.lost:
        return Finding("labels", True, f"{used}; {_reasons(found)}" if found else used)
    remedy = (
        "Open these tasks in Label Studio and label the named regions again; left_out.json of the"
        " round lists all. Then press Start Training: the next training counts again."
    )
    return Finding("labels", False, f"{used}; {_reasons(found)}", remedy)


def _images(context: RoundContext) -> Finding:
    """The last round read the image of every unlabelled task."""
    found = latest_summary(state_of(context).left_out, "unlabelled")
    if found is None:
        return Finding(
            "images", True, "no round has read them yet: the round of the first model does"
        )
    if not found:
        return Finding("images", True, f"round {found.round}: all could be read")
    remedy = "Import these images again; tasks without a readable image come last in the order."
    text = f"round {found.round}: {found.tasks} tasks; {_reasons(found)}"
    return Finding("images", False, text, remedy)


def _reasons(found: Summary) -> str:
    """The counts of tasks and regions that were left out, with the first reasons."""
    return f"{found.counted()}. First: {' | '.join(found.first)}"
