"""The conditions that are broken, and the tests that should notice."""

from dataclasses import dataclass

WORKER, COMMANDS = "tests/backend/worker", "tests/backend/commands"


@dataclass(frozen=True)
class Mutation:
    """One condition, broken.

    Args:
        what: the condition, in words.
        file: where it stands.
        old: its text, once in the file.
        new: what stands there instead.
        tests: files or folders of tests that should notice.
    """

    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTATIONS = (
    Mutation(
        "a label that comes during a round stays pending",
        "backend/worker/worker.py",
        '(event.kind == "changed" and open_ is None)',
        '(event.kind == "changed" or event.kind == "train")',
        (f"{WORKER}/test_worker.py",),
    ),
    Mutation(
        "a project that is gone is not asked for, but whether it is there again",
        "backend/worker/gone.py",
        "gone=True",
        "gone=False",
        (f"{WORKER}/test_worker.py",),
    ),
    Mutation(
        "Label Studio is polled every POLL_SECONDS and not more often",
        "backend/worker/worker.py",
        "if pending or due or project.state.asked:",
        "if True:",
        (f"{WORKER}/test_worker.py",),
    ),
    Mutation(
        "a removed backend disconnects the project",
        "backend/worker/worker.py",
        "if connection.was_removed(context):",
        "if False:",
        (f"{WORKER}/test_connection.py",),
    ),
    Mutation(
        "a failure makes the project wait",
        "backend/worker/worker.py",
        "        pause.longer()\n",
        "",
        (f"{WORKER}/test_worker.py",),
    ),
    Mutation(
        "an unreachable Label Studio leaves the round open",
        "backend/worker/round.py",
        "    StudioUnreachable,\n    StudioAuthError,\n    DiskRefused,\n",
        "    StudioAuthError,\n    DiskRefused,\n",
        (f"{WORKER}/test_worker.py", f"{WORKER}/test_served_order.py"),
    ),
    Mutation(
        "an order that is not switched to is kept, not served",
        "backend/worker/round.py",
        'if flip["flipped"] and',
        "if",
        (f"{WORKER}/test_served_order.py",),
    ),
    Mutation(
        "exactly TRAIN_AFTER changes start a training",
        "backend/worker/triggers.py",
        "if changed >= wanted and",
        "if changed > wanted and",
        (f"{WORKER}/test_round_due.py",),
    ),
    Mutation(
        "an edit of an annotation is a change",
        "backend/worker/dataset.py",
        '(int(chosen["id"]), str(chosen["updated_at"]))',
        '(int(chosen["id"]), "")',
        (f"{WORKER}/test_round_due.py",),
    ),
    Mutation(
        "a deleted annotation is a change only if it was trained on",
        "backend/worker/triggers.py",
        'if not task["total_annotations"] and int(task["id"]) in seen',
        'if not task["total_annotations"] and False',
        (f"{WORKER}/test_round_due.py",),
    ),
    Mutation(
        "the pause after failed trainings doubles",
        "backend/worker/triggers.py",
        "AFTER_FAILURE_SECONDS * 2 **",
        "AFTER_FAILURE_SECONDS * 1 **",
        (f"{WORKER}/test_round_due.py",),
    ),
    Mutation(
        "a backend that was not added anew stays disconnected",
        "backend/worker/triggers.py",
        'our_backend(context)["id"] != state.backend_id',
        "True",
        (f"{WORKER}/test_connection.py",),
    ),
    Mutation(
        "of two readings of a task the later one decides whether it is in the pool",
        "backend/worker/sync.py",
        'if not finished.get(t["id"], bool(t["is_labeled"]))',
        'if not bool(t["is_labeled"])',
        (f"{WORKER}/test_served_order.py",),
    ),
    Mutation(
        "a round without an object to learn from fails",
        "backend/worker/train.py",
        "if samples.statistics.densest == 0:",
        "if False:",
        (f"{WORKER}/test_round_due.py", f"{WORKER}/test_loop.py"),
    ),
    Mutation(
        "an order that arrived is not posted again",
        "backend/worker/publish.py",
        "held.get(version, 0) == 0",
        "held.get(version, 0) >= 0",
        (f"{WORKER}/test_served_order.py", f"{WORKER}/test_publish.py"),
    ),
    Mutation(
        "an incomplete post is repeated under a fresh version",
        "backend/worker/attempts.py",
        ".get(version, 0) >= tasks",
        ".get(version, 0) >= 0",
        (f"{WORKER}/test_served_order.py", f"{WORKER}/test_publish.py"),
    ),
    Mutation(
        "an import that may be running is waited for",
        "backend/worker/attempts.py",
        "if 0 < left <= AWAIT_SECONDS:",
        "if False:",
        (f"{WORKER}/test_attempts.py",),
    ),
    Mutation(
        "a version that somebody chose stays",
        "backend/store/serving.py",
        'if current in {"", "None", wanted, state.serving}',
        'if current in {"", "None", wanted, state.serving, current}',
        (f"{WORKER}/test_served_order.py",),
    ),
    Mutation(
        "a rollback between the look and the switch wins",
        "backend/store/serving.py",
        "if not state.pinned or state.serving ==",
        "if True or state.serving ==",
        (f"{WORKER}/test_served_order.py",),
    ),
    Mutation(
        "nothing is published after a disconnect",
        "backend/worker/publish.py",
        '        raise RoundStopped("The project was disconnected, so the round made no new'
        ' order.")\n',
        "        return\n",
        (f"{WORKER}/test_served_order.py", f"{WORKER}/test_publish.py"),
    ),
    Mutation(
        "what a rollback would serve is kept",
        "backend/worker/prune.py",
        "keep = {*newest[: context.settings.keep_versions], *before}",
        "keep = {*newest[: context.settings.keep_versions]}",
        (f"{WORKER}/test_prune.py",),
    ),
    Mutation(
        "rows of a version that is kept or of others are not deleted",
        "backend/worker/prune.py",
        "if not mine or version in keep or",
        "if version in keep or",
        (f"{WORKER}/test_prune.py",),
    ),
    Mutation(
        "rows that an open round has posted are not deleted",
        "backend/worker/prune.py",
        "(unfinished and version.startswith(unfinished))",
        "False",
        (f"{WORKER}/test_prune.py",),
    ),
    Mutation(
        "rows that an editor may have open are not deleted",
        "backend/worker/open_rows.py",
        "if age > LOCK_SECONDS or first > left:",
        "if True:",
        (f"{WORKER}/test_prune.py", f"{WORKER}/test_open_rows.py"),
    ),
    Mutation(
        "while people label, rows go a few at a time",
        "backend/worker/prune.py",
        "> QUIET_SECONDS",
        "> 0",
        (f"{WORKER}/test_prune.py",),
    ),
    Mutation(
        "a new config leaves the sampling alone",
        "backend/worker/connection.py",
        "    if not context.load_project().state.armed:  # once",
        "    if True:  # once",
        (f"{WORKER}/test_connection.py",),
    ),
    Mutation(
        "an interrupted disconnect goes on",
        "backend/worker/connection.py",
        "if state.disconnected and state.before:",
        "if False:",
        (f"{WORKER}/test_connection.py",),
    ),
    Mutation(
        "another ML backend is never taken for ours",
        "backend/worker/connection.py",
        "    ours = _rows_of_ours(context, rows)",
        "    ours = _rows_of_ours(context, rows) or rows",
        (f"{WORKER}/test_other_backends.py",),
    ),
    Mutation(
        "a webhook that somebody changed is put back",
        "backend/worker/connection.py",
        "if not webhook_is_armed(kept, wanted):",
        "if False:",
        (f"{WORKER}/test_connection.py",),
    ),
    Mutation(
        "what stood in Label Studio before is remembered once",
        "backend/worker/connection.py",
        "before = before or _remembered(context, project)",
        "before = _remembered(context, project)",
        (f"{WORKER}/test_connection.py",),
    ),
    Mutation(
        "the newest order that Label Studio still holds is served again",
        "backend/store/serving.py",
        "if row.tasks and held.get(row.version))",
        "if row.tasks)",
        (f"{WORKER}/test_connection.py",),
    ),
    Mutation(
        "the doctor sees a second webhook",
        "backend/commands/doctor.py",
        "if wrong or len(rows) > 1:",
        "if wrong:",
        (f"{COMMANDS}/test_doctor.py",),
    ),
    Mutation(
        "the doctor sees a title that equals a version",
        "backend/commands/doctor.py",
        "if title and title in versions]",
        "if title and title == version]",
        (f"{COMMANDS}/test_doctor.py",),
    ),
    Mutation(
        "a rollback that Label Studio refuses leaves no pin",
        "backend/worker/operate.py",
        "pinned=pinned, promoted=promoted",
        "promoted=promoted",
        (f"{COMMANDS}/test_versions.py",),
    ),
    Mutation(
        "models are compared on images that neither was trained on",
        "backend/commands/compare.py",
        'snapshot.of("validation")} - seen',
        'snapshot.of("validation")} - set()',
        (f"{COMMANDS}/test_versions.py",),
    ),
    Mutation(
        "an export does not write into a folder that holds something",
        "backend/commands/export.py",
        "if out.exists() and (not out.is_dir() or any(out.iterdir())):",
        "if False:",
        (f"{COMMANDS}/test_export.py",),
    ),
    Mutation(
        "the strategy orders its own arm alone",
        "backend/worker/arms.py",
        'mine = [row for row, task in enumerate(ids) if draw.arm(task) == "strategy"]',
        "mine = list(range(len(ids)))",
        (f"{WORKER}/test_arms.py",),
    ),
    Mutation(
        "labels of an order without these arms belong to both",
        "backend/worker/compare_arms.py",
        'draw.arm(task) if before == draw.name else "both"',
        "draw.arm(task)",
        (f"{WORKER}/test_compare_arms.py",),
    ),
    Mutation(
        "both arms have equally many images",
        "backend/worker/compare_arms.py",
        "parts[arm][: _fewer(parts)]",
        "parts[arm]",
        (f"{WORKER}/test_compare_arms.py",),
    ),
    Mutation(
        "a due round goes before the comparison of the arms",
        "backend/worker/due.py",
        "return round_due(context, mine, thorough=poll) is not None",
        "return False",
        (f"{WORKER}/test_compare_arms.py",),
    ),
)
