"""The benchmark of publishing measures what it says: the post that it times is the right one."""

from __future__ import annotations

import hashlib
import json

import pytest

from backend.store.predictions import with_reason
from benchmarks import publish

TASKS, REGIONS = 12, 3


def explained(regions, reason):
    """Regions as they are posted: the first has the sentence why."""
    return json.loads(with_reason(json.dumps(regions).encode(), reason))


@pytest.mark.slow
def test_the_measured_post_holds_every_task_in_its_place(tmp_path):
    made = publish.bank(5)
    (tmp_path / "bank.json").write_text(json.dumps(made))
    (tmp_path / "size.json").write_text(json.dumps({"tasks": TASKS, "regions": REGIONS}))
    found = publish.take_turns({"now": publish.ROOT}, tmp_path, turns=2)["now"]

    regions = dict(publish.results(tmp_path))
    selection = publish.selection(tmp_path)
    ranked = [row + 1 for row in selection]
    assert sorted(ranked) == sorted(regions) == list(range(1, TASKS + 1))
    rows = [
        {"task": task, "result": explained(regions[task], reason), "score": rank / TASKS,
         "model_version": publish.VERSION}
        for rank, (task, reason) in enumerate(zip(ranked, selection.reasons, strict=True), start=1)
    ]  # fmt: skip
    body = json.dumps(rows).encode()
    assert found["sha256"] == hashlib.sha256(body).hexdigest()
    assert (found["filled"], found["post_mb"]) == (TASKS, round(len(body) / 1e6, 1))
    assert found["cpu_s"] > 0


def test_a_checkout_of_an_unknown_layout_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(publish, "BUILDS", {"no.such.module": None})
    with pytest.raises(SystemExit, match=r"Expected a checkout that has one of no\.such\.module"):
        publish.build_of(tmp_path)
