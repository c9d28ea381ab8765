"""`forget` deletes a project that Label Studio does not have, and nothing else."""

import re
from pathlib import Path

import sqlalchemy as sa

import backend
from backend.commands.forget import FOLDERS
from backend.store.database import Store
from backend.store.secrets import save_token
from backend.store.transactions import META


def rows_by_project(store):
    """Table and project id -> number of rows, and the number of steps without a round."""
    tables = [table for table in META.tables.values() if "project" in table.c]
    projects, rounds, steps = (META.tables[name] for name in ("projects", "rounds", "steps"))
    found = {}
    with store.reading() as db:
        for table in tables:
            query = sa.select(table.c.project, sa.func.count()).group_by(table.c.project)
            found |= {(table.name, project): count for project, count in db.execute(query)}
        for (project,) in db.execute(sa.select(projects.c.id)):
            found["projects", project] = 1
        known = sa.select(rounds.c.id)
        lost = sa.select(sa.func.count()).where(steps.c.round.not_in(known))
        return found, db.execute(lost).scalar_one()


def files_of(data, project):
    found = [path for path in data.rglob("*") if path.is_file() and path.parts[-1] != "lock"]
    named = {f"project-{project}.token"}
    return [p for p in found if str(project) in p.relative_to(data).parts or p.name in named]


def test_a_project_that_was_deleted_leaves_nothing_and_others_stay(loop):
    stays, goes = loop.project(2, title="Stays"), loop.project(3, title="Goes")
    for project in (stays, goes):
        project.give_model()
        save_token(loop.data, project.id, "secret")
    kept, _ = rows_by_project(loop.store)
    kept = {key: count for key, count in kept.items() if key[1] == stays.id}
    files = files_of(loop.data, stays.id)
    assert files
    assert files_of(loop.data, goes.id)

    loop.studio.api("DELETE", f"/api/projects/{goes.id}/")
    loop.turn()
    assert loop.store.project(goes.id).state.gone
    said = loop.cli("forget", str(goes.id), "--yes", well=False)
    assert "A worker runs" in said
    assert loop.store.project(goes.id) is not None
    assert files_of(loop.data, goes.id)

    loop.store.release(loop.lease)
    said = loop.cli("forget", str(goes.id), "--yes")
    assert "'Goes': 2 rounds" in said
    assert rows_by_project(loop.store) == (kept, 0)
    assert files_of(loop.data, goes.id) == []
    assert files_of(loop.data, stays.id) == files
    Store(loop.data).close()  # its seals are whole
    loop.start_worker()
    loop.turn()
    assert [project.id for project in loop.store.projects()] == [stays.id]
    assert "Project" in loop.cli("forget", str(goes.id), "--yes", well=False)


def test_nothing_is_deleted_of_a_project_that_label_studio_shows_or_without_a_yes(loop):
    project = loop.project(2)
    loop.store.release(loop.lease)
    rows = rows_by_project(loop.store)
    assert "Label Studio shows" in loop.cli("forget", str(project.id), "--yes", well=False)
    loop.studio.fault("GET", f"/api/projects/{project.id}/", status=401, times=1)
    loop.cli("forget", str(project.id), "--yes", well=False)
    loop.studio.api("DELETE", f"/api/projects/{project.id}/")
    assert "Delete all of it?" in loop.cli("forget", str(project.id), well=False)
    assert rows_by_project(loop.store) == rows


def test_every_folder_that_has_one_for_each_project_is_named():
    sources = [path.read_text() for path in Path(backend.__file__).parent.rglob("*.py")]
    found = {name for source in sources for name in re.findall(r'/ "(\w+)" / str\(', source)}
    assert found == set(FOLDERS)
