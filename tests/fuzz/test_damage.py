"""F13: flipped bits and cuts of a checkpoint's files and of the store."""

from itertools import chain
from random import Random

import pytest
import sqlalchemy as sa

from backend.errors import StoreError
from backend.settings import load_settings
from backend.store.database import Store
from backend.store.seals import DEFINITIONS, definitions
from backend.store.transactions import META
from taudis.detector.checkpoint import load_checkpoint, save_checkpoint
from taudis.errors import CheckpointError
from tests.backend.web.web_cases import CONFIG, publish
from tests.taudis.detector_cases import LABELS, detector

FILES = ("SHA256SUMS", "card.json", "weights.safetensors")


def damaged(path, number, cuts, seed):
    """Damage a file in place, and mend it after each step of the loop: a flipped bit (`number` of
    them, all if there are fewer), or a cut.
    """
    random, content = Random(seed), path.read_bytes()
    bits = 8 * len(content)
    for bit in range(bits) if bits <= number else random.sample(range(bits), number):
        changed = content[bit // 8] ^ 1 << bit % 8
        _put(path, bit // 8, changed)
        yield
        _put(path, bit // 8, content[bit // 8])
    for length in {0, 1, len(content) - 1, *random.sample(range(len(content)), cuts)}:
        path.write_bytes(content[:length])
        yield
        path.write_bytes(content)


def _put(path, at, byte):
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes([byte]))


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.fault("F13", "checkpoint")
def test_every_damage_of_a_checkpoint_is_refused_by_its_file(tmp_path, figures, full):
    folder = tmp_path / "v1"
    save_checkpoint(folder, detector(seed=5), card={"recipe": "tiny", "steps": 3})
    numbers = {"SHA256SUMS": 8_000, "card.json": 40_000, "weights.safetensors": 600}
    tried = loaded = 0
    for name in FILES:
        for _ in damaged(folder / name, numbers[name] if full else 15, 5 * full, seed=1):
            tried += 1
            try:
                load_checkpoint(folder, label_map=LABELS)
                loaded += 1
            except CheckpointError as error:
                assert str(folder) in str(error) and name in str(error), error
    load_checkpoint(folder, label_map=LABELS)
    figures(checkpoint_damages=tried, loaded=loaded)
    assert loaded == 0


def written_store(folder):
    """A store with rows of every kind that a project brings, closed."""
    store, settings = Store(folder), load_settings(model_dir=folder)
    for project in (7, 8):
        store.update_project(project, label_config=CONFIG, title="Title", origin="http://x.example")
        for kind in ("setup", "changed", "train"):
            store.record_event(project, kind)
        for number in range(1, 4):
            publish(settings, store, project, version=f"taudis-{number:04d}-a")
    lease = store.acquire()
    open_ = store.open_round(lease, 7, "train", "16 tasks changed", [])
    store.finish_step(lease, open_.id, "synced", {"labelled": 16, "watermark": ""})
    store.close()
    return folder / "store.sqlite3"


def everything(store):
    """All rows of a store, and what its readers make of them."""
    with store.reading() as db:
        rows = {t.name: sorted(map(repr, db.execute(sa.select(t)))) for t in META.sorted_tables}
    readers = [store.projects(), store.pending_events(), store.open_rounds()]
    readers += chain.from_iterable((store.rounds(p), store.versions(p)) for p in (7, 8))
    return rows, list(map(repr, readers))


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.fault("F13", "store")
def test_every_damage_of_the_store_is_refused_by_name_or_changes_nothing(tmp_path, figures, full):
    (tmp_path / "whole").mkdir()
    content = written_store(tmp_path / "whole").read_bytes()
    whole = Store(tmp_path / "whole")
    expected = everything(whole)
    whole.close()
    path = tmp_path / "damaged" / "store.sqlite3"
    (path.parent / "models").mkdir(parents=True)
    path.write_bytes(content)
    refused = same = loaded = 0
    for _ in damaged(path, 6_000 if full else 80, 200 if full else 5, seed=2):
        for left in path.parent.glob("store.sqlite3-*"):  # what SQLite wrote beside the last one
            left.unlink()
        try:
            store = Store(path.parent)
        except StoreError as error:
            assert str(path) in str(error) and "damaged" in str(error)
            refused += 1
            continue
        found = everything(store)
        store.close()
        same, loaded = same + (found == expected), loaded + (found != expected)
    figures(store_damages=refused + same + loaded, refused=refused, same=same, loaded=loaded)
    assert loaded == 0 and refused > 10


@pytest.mark.fault("F13", "store")
def test_a_write_past_the_backend_is_found(tmp_path):
    """A row that was changed without its seal: what a flipped bit in a value looks like."""
    path = written_store(tmp_path)
    store = Store(tmp_path)
    with store.writing() as db:
        db.exec_driver_sql("DROP TRIGGER seal_versions_update")
        db.exec_driver_sql("UPDATE versions SET tasks = tasks + 1 WHERE project = 8")
        total = "UPDATE seals SET total = ? WHERE name = ?"
        db.exec_driver_sql(total, (definitions(db), DEFINITIONS))
    store.close()
    with pytest.raises(StoreError, match=r"'versions' is damaged.*labels are safe") as refused:
        Store(tmp_path)
    assert str(path) in str(refused.value)
