"""The faults that the product must survive: a row each, and what its figures must be."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """One row of docs/reliability.md.

    happens: the fault, one sentence. holds: what must be true all the same, one sentence.
    parts: what its tests show one by one: the name that a marker gives -> what is shown. A row is
    well when each part has a test that passed.
    at_most, at_least: bounds of figures by name. The lower bounds count in the full form alone.
    """

    happens: str
    holds: str
    parts: dict[str, str]
    at_most: dict[str, float] = field(default_factory=dict)
    at_least: dict[str, float] = field(default_factory=dict)


ROWS: dict[str, Row] = {
    "F1": Row(
        "The worker is killed (SIGKILL) at random instants of whole rounds.",
        "No annotation is lost, the old or the new order is served, and the round ends.",
        {
            "lost": "every acknowledged annotation is in one split of the next snapshot",
            "order": "after each kill, exactly the old or exactly the new order is served",
            "steps": "a kill in each step of a round",
            "random": "kills at random instants",
            "training": "a training repeats at most one checkpoint interval",
        },
        at_most={"lost": 0, "mixed": 0},
        at_least={"kills": 200},
    ),
    "F2": Row(
        "The web process is killed (SIGKILL) under load.",
        "Every webhook that was answered 2xx is stored, and the process is back within 5 s.",
        {"stored": "answered webhooks are stored", "back": "it answers again within 5 s"},
        at_most={"lost": 0, "back_s": 5},
        at_least={"kills": 1},
    ),
    "F3": Row(
        "32 clients send 10,000 webhooks while a round trains.",
        "All are answered 2xx in time, and they lead to one round and one follow-up.",
        {
            "answers": "all answers are 2xx, p99 under 250 ms, the slowest under 1 s",
            "rounds": "exactly one round and at most one follow-up",
        },
        at_most={"p99_ms": 250, "max_ms": 1000, "refused": 0},
        at_least={"webhooks": 10_000},
    ),
    "F4": Row(
        "Webhooks are lost, doubled, reordered, or come from a deleted project or another server.",
        "The final state is that of a run without loss.",
        {
            "lost": "the poll finds what a lost webhook did not say",
            "doubled": "doubled and reordered webhooks change nothing",
            "unknown": "an unknown project costs one log line",
        },
        at_most={"differences": 0},
    ),
    "F5": Row(
        "Label Studio is down, slow, or answers errors or parts, at each call of the client.",
        "Nothing is half published, and the worker recovers by itself.",
        {
            "client": "retries with backoff, `Retry-After`, half a body, silence",
            "calls": "each fault at each call of a round: no crash, no partial publish",
            "health": "/health stays 200, /ready says why",
            "recovers": "the round ends after the fault",
        },
        at_most={"partial": 0, "crashes": 0},
    ),
    "F6": Row(
        "An annotator edits, deletes, skips or labels a task again during every step of a round.",
        "The change counts once, and a labelled task does not come back to the queue's front.",
        {
            "once": "the change counts in this round or the next, once",
            "queue": "no labelled task is served again",
        },
        at_most={"lost": 0, "doubled": 0, "served_again": 0},
    ),
    "F7": Row(
        "Images are broken, huge, of rare formats, turned, missing, or deleted between rounds.",
        "The task is left out with a reason, and the other images go on in bounded memory.",
        {
            "decode": "each kind of file is decoded right or refused with a reason",
            "round": "a round goes on with the other images",
            "memory": "memory stays under its limit",
            "turned": "turned images match what Label Studio displays",
        },
        at_most={"crashes": 0},
    ),
    "F8": Row(
        "Tasks name private, local or deceptive addresses.",
        "Only what the settings allow is fetched; the token goes to Label Studio alone.",
        {
            "refused": "what the settings do not allow is not fetched",
            "token": "the token goes to Label Studio's own origin alone",
        },
        at_most={"leaks": 0, "fetched": 0},
    ),
    "F9": Row(
        "Annotations have regions that are bombs, broken, or meaningless.",
        "A bomb is refused before memory is taken; bad regions are named, good ones are kept.",
        {
            "bombs": "run lengths that claim too much are refused before memory is taken",
            "named": "bad regions are named and left out, good ones of the task are kept",
            "many": "10,000 regions in one task",
        },
        at_most={"crashes": 0},
    ),
    "F10": Row(
        "Labelling configs are unusable, odd, or change in mid-project.",
        "A sentence says what to change; a changed label set leaves the old version servable.",
        {
            "sentences": "an unusable config is refused with what to change",
            "changed": "a label is added, renamed or removed in mid-project",
        },
        at_most={"crashes": 0},
    ),
    "F11": Row(
        "100,000 malformed requests come to every route.",
        "No answer of 500 and above, no hang, no file outside, and memory stays flat.",
        {
            "answers": "no answer of 500 and above, no hang",
            "files": "no file outside the data directory",
            "memory": "memory stays flat",
        },
        at_most={"server_errors": 0, "hangs": 0, "files_outside": 0},
        at_least={"requests": 100_000},
    ),
    "F12": Row(
        "Credentials are missing, wrong, replayed or oversized.",
        "The answer is 401 without detail; a public address without credentials does not start.",
        {
            "401": "401 without detail",
            "time": "the comparison takes the same time whatever is wrong",
            "start": "a public address without credentials refuses to start",
        },
        at_most={"let_in": 0},
    ),
    "F13": Row(
        "A bit of a checkpoint, its card, its sums or the store is flipped, or a file is cut.",
        "It is refused by its file's name, and the version before it is served.",
        {
            "checkpoint": "weights, card and sums: refused by name",
            "store": "the store file: refused by name or read right",
            "serving": "the version before goes on serving",
        },
        at_most={"loaded": 0},
    ),
    "F14": Row(
        "The disk is full at each write, or the data directory is read-only.",
        "The old state is intact, a message says so, and it recovers when there is space.",
        {
            "full": "a full disk at each write",
            "read_only": "a read-only directory",
            "recovers": "it goes on when there is space again",
        },
        at_most={"damaged": 0},
    ),
    "F15": Row(
        "Memory runs out in training and in inference.",
        "The batch is halved, then the round fails with a reason; serving goes on.",
        {
            "halves": "the batch is halved",
            "reason": "then the round fails with a reason",
            "serving": "the order before goes on serving",
        },
    ),
    "F16": Row(
        "Two workers run on one directory; one sleeps past its lease and wakes.",
        "Exactly one publishes, and no orders are mixed.",
        {
            "lease": "a worker without the lease writes nothing to the store",
            "publish": "a worker that sleeps in mid-publish cannot switch the order",
        },
        at_most={"mixed": 0, "stale": 0},
        at_least={"trials": 1000},
    ),
    "F17": Row(
        "The clock jumps an hour back and forward.",
        "No round is lost or doubled.",
        {"forward": "an hour forward", "back": "an hour back"},
        at_most={"lost": 0, "doubled": 0},
    ),
    "F18": Row(
        "Training diverges, or the labels are too few, one-sided or empty.",
        "A model that diverged or saw no object is never served, and an unmeasured one never in"
        " place of an evaluated one; the reason is on the page, and there is still an order.",
        {
            "diverges": "a loss that is not finite",
            "labels": "no validation image, a label without objects, one image, empty images",
            "order": "the order before stays, and the reason is said",
        },
        at_most={"served": 0},
    ),
    "F19": Row(
        "24 projects share a backend, with rounds and predictions interleaved.",
        "Every answer has its own project's labels, and no project waits for ever.",
        {
            "apart": "every answer has its own project's labels",
            "fair": "the project that waited longest comes first",
        },
        at_most={"crossed": 0},
        at_least={"projects": 24},
    ),
    "F20": Row(
        "/predict and /webhook are called while a training runs on all cores, without a round.",
        "The p99 is at most twice that of an idle machine.",
        {"predict": "a stored prediction", "webhook": "the webhook"},
        at_most={"predict_ratio": 2, "webhook_ratio": 2},
    ),
    "F21": Row(
        "Simulated annotators label for 20 minutes (2 hours in `make soak`).",
        "Memory and open files stay flat, and the store within its bound.",
        {
            "memory": "memory stays flat",
            "files": "open files stay flat",
            "store": "the store stays within its bound",
        },
        at_least={"minutes": 20},
    ),
    "F22": Row(
        "A data directory of each released version is opened by the newest.",
        "It is migrated, or refused with the way out.",
        {
            "released": "each released version's directory",
            "newer": "the directory of a newer build is refused by name",
        },
    ),
    "F23": Row(
        "A token, a password and a storage credential pass through every part.",
        "None is in a log, the store, a page or an answer; tokens are in `secrets/` alone, 0600.",
        {
            "logs": "no secret in logs at any level",
            "store": "no secret in the data directory but in `secrets/`, mode 0600",
            "answers": "no secret on pages and in answers",
        },
        at_most={"leaks": 0},
    ),
}
