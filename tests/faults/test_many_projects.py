"""F19: 24 projects with labels of their own on one backend, rounds and predictions interleaved."""

import json
import os
import random
import threading

import pytest
import torch

from taudis.detector.card import read_card
from taudis.detector.checkpoint import save_checkpoint
from taudis.files import write_sealed
from tests.backend.local_loop import PASSWORD, USER
from tests.backend.worker.round_cases import CONFIG
from tests.taudis.detector_cases import detector

PROJECTS, PICTURES = 24, 3
AUTH = (USER, PASSWORD)


def config(number):
    """A labelling config whose labels no other project has."""
    return CONFIG.replace('"square"', f'"square-{number}"').replace('"bar"', f'"bar-{number}"')


def own_labels(number):
    return {f"square-{number}", f"bar-{number}"}


@pytest.fixture
def finds_much(tmp_path):
    """A checkpoint of an untrained detector whose masks fill their boxes."""
    made = detector()
    with torch.no_grad():
        made.model.roi_heads.mask_predictor.mask_fcn_logits.bias.add_(5)
    save_checkpoint(tmp_path / "finds_much", made, card={})
    return tmp_path / "finds_much"


def give_own_model(loop, project, number, model):
    """A model under the labels of a project, and an order of it."""
    card = read_card(model) | {"labels": sorted(own_labels(number), reverse=True)}

    def write(folder):
        weights = "weights.safetensors"
        os.link(model / weights, folder / weights)
        (folder / "card.json").write_text(json.dumps(card))

    def add_model(name):
        write_sealed(loop.data / "models" / str(project.id) / name, write)

    project.add_model = add_model
    project.give_model()


def foreign(number, regions):
    """Labels in regions that are not of this project."""
    used = {label for region in regions for label in region["value"]["brushlabels"]}
    return used - own_labels(number)


class Asking:
    """A thread that asks /predict for every project in turn; `crossed` are wrong answers."""

    def __init__(self, loop, projects):
        self._loop, self._projects, self._over = loop, projects, threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.answers, self.regions, self.crossed = 0, 0, []

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _ask(self):
        client = self._loop.app.test_client()
        while not self._over.is_set():
            for number, project in self._projects.items():
                if self._over.wait(0.02):  # the rounds need the core, too
                    return
                self.ask(client, number, project, project.known)

    def ask(self, client, number, project, tasks):
        """One request; what is wrong with its answer is kept."""
        before = project.loop.store.project(project.id).state.serving
        body = {"project": f"{project.id}.1", "tasks": tasks, "label_config": config(number)}
        answer = client.post("/predict", json=body, auth=AUTH).json
        after = project.loop.store.project(project.id).state.serving
        regions = [each for row in answer["results"] for each in row["result"]]
        if foreign(number, regions) or answer["model_version"] not in (before, after):
            self.crossed.append((number, answer))
        self.answers, self.regions = self.answers + 1, self.regions + len(regions)


def run_rounds(loop, projects, greedy):
    """Run the open rounds; after each, one project gets more tasks. The projects, as they ran."""
    ran = []
    while loop.store.open_rounds() and len(ran) < 2 * PROJECTS:
        before = {row.id: row.project for row in loop.store.open_rounds()}
        loop.worker.runner_turn(loop.lease)
        left = {row.id for row in loop.store.open_rounds()}
        ran += [project for row, project in before.items() if row not in left]
        if len(ran) < PROJECTS:
            projects[greedy].import_pictures(1)
            loop.worker._polled.pop(projects[greedy].id)  # its next poll is due
        loop.schedule()
    return ran


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.fault("F19", "apart", "fair")
def test_no_project_sees_another_and_none_waits_behind_a_greedy_one(
    make_loop, finds_much, figures, full
):
    loop = make_loop(POLL_SECONDS="3600", SCORE_THRESHOLD="0.05")
    projects = {}
    for number in range(PROJECTS):
        project = loop.project(PICTURES, config(number), title=f"Project {number}")
        give_own_model(loop, project, number, finds_much)
        project.known = [{"id": task["id"], "data": task["data"]} for task in project.tasks()]
        projects[number] = project
    order = random.Random(19).sample(list(projects), PROJECTS)
    for number in order:
        projects[number].import_pictures(9 if full else 1)
    loop.start_worker()  # all polls are due
    with Asking(loop, projects) as asking:
        loop.schedule()
        ran = run_rounds(loop, projects, order[0])
    for number in projects if full else order[:2]:  # a task without a stored prediction
        task = {**projects[number].known[0], "id": 10**6}
        asking.ask(loop.app.test_client(), number, projects[number], [task])
    crossed = list(asking.crossed)
    for number, project in projects.items():
        rows, tasks = project.rows(project.version()), {task["id"] for task in project.tasks()}
        found = [each for _, regions in rows.values() for each in regions]
        if foreign(number, found) or not found or not set(rows) <= tasks:
            crossed.append((number, "rows"))
        assert project.rounds[0].outcome in ("served", "kept"), project.rounds[0].message
    figures(projects=PROJECTS, answers=asking.answers, rounds=len(ran), crossed=len(crossed))
    assert not crossed
    assert asking.regions > 0
    assert set(ran[:PROJECTS]) == {each.id for each in projects.values()}
