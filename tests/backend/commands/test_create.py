"""`create` makes a project of a folder, with the labels of a COCO file, and connects it."""

import json
from pathlib import Path

import pytest

from backend.commands import create as create_
from backend.errors import SettingsError
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.new_project import belongs_to, label_config
from backend.label_studio.regions.decode import decode_annotation
from demo.pictures import generate
from taudis.data.coco import load_coco
from taudis.data.coco.file import read_coco_json
from taudis.data.coco.kinds import Findings
from taudis.errors import DataError
from taudis.types import LabelMap


@pytest.fixture
def folder(tmp_path):
    """Eight pictures; the COCO file lists all and labels the first three. A text beside them."""
    generate(tmp_path, 8, seed=4, size=64)
    file = tmp_path / "instances.json"
    coco = json.loads(file.read_text())
    few = list(dict.fromkeys(each["image_id"] for each in coco["annotations"]))[:3]
    coco["annotations"] = [each for each in coco["annotations"] if each["image_id"] in few]
    file.write_text(json.dumps(coco))
    (tmp_path / "images" / "notes.txt").write_text("not an image")
    return tmp_path


def project_of(printed):
    return int(printed.partition("Project ")[2].split()[0])


@pytest.mark.parametrize("draw", ["brush", "bitmask", "polygon"])
def test_a_folder_with_labels_becomes_a_connected_project(loop, folder, draw):
    file = folder / "instances.json"
    printed = loop.cli(
        *("create", str(folder / "images"), "--coco", str(file), "--draw", draw),
        BACKEND_URL=loop.url,
    )
    number = project_of(printed)
    assert "8 tasks, 3 of them labelled" in printed and "1 .txt" in printed
    assert "5 images have no object in the COCO file and come unlabelled" in printed
    assert f"{loop.studio.url}/projects/{number}" in printed
    assert "Next: press Label All Tasks" in printed

    label_map, samples = load_coco(file, folder / "images")
    rows = {name: row for row, name in enumerate(samples.file_names)}
    tasks = loop.studio.api("GET", "/api/tasks", params={"project": number, "fields": "all"})
    config = parse_label_config(loop.studio.api("GET", f"/api/projects/{number}/")["label_config"])
    assert config.label_map.names == label_map.names
    labelled = [task for task in tasks["tasks"] if task["annotations"]]
    assert len(tasks["tasks"]) == 8 and len(labelled) == 3
    for task in labelled:
        name = task["data"]["image"].rpartition("/")[2].partition("-")[2]
        target = samples.target(rows[name])
        read = decode_annotation(task["annotations"][0]["result"], config, size=(64, 64))
        assert not read.problems and read.target.labels.tolist() == target.labels.tolist()
        overlap = (read.target.masks & target.masks).sum() / (
            read.target.masks | target.masks
        ).sum()
        assert overlap > (0.97 if draw == "polygon" else 0.9999)

    loop.schedule()
    assert loop.studio.api("GET", f"/api/projects/{number}/")["sampling"] == "Uncertainty sampling"


@pytest.mark.parametrize("draw", ["brush", "bitmask", "polygon", "rectangle"])
def test_objects_of_a_few_pixels_are_posted_and_counted(loop, folder, draw):
    file = folder / "instances.json"
    coco = json.loads(file.read_text())
    image = coco["annotations"][0]["image_id"]
    kept = [each for each in coco["annotations"] if each["image_id"] == image]
    small = [[5, 5, 8, 5, 8, 6, 5, 6], [9, 9, 10, 9, 10, 10, 9, 10], [3.1, 3.1, 3.3, 3.1, 3.2, 3.3]]
    coco["annotations"] = kept + [
        kept[0] | {"id": 900 + row, "segmentation": [ring], "area": 1, "bbox": [5, 5, 3, 1]}
        for row, ring in enumerate(small)
    ]
    file.write_text(json.dumps(coco))
    printed = loop.cli(
        *("create", str(folder / "images"), "--coco", str(file), "--draw", draw),
        BACKEND_URL=loop.url,
    )
    number, drawn = project_of(printed), len(kept) + 2
    assert f"8 tasks, 1 of them labelled, with {drawn} of {drawn + 1} objects of the" in printed
    assert "1 objects could not be drawn" in printed
    tasks = loop.studio.api("GET", "/api/tasks", params={"project": number, "fields": "all"})
    (task,) = [task for task in tasks["tasks"] if task["annotations"]]
    config = parse_label_config(loop.studio.api("GET", f"/api/projects/{number}/")["label_config"])
    read = decode_annotation(task["annotations"][0]["result"], config, size=(64, 64))
    assert not read.problems
    assert read.target.masks[len(kept) :].sum(axis=(1, 2)).tolist() == [3, 1]


def test_a_project_whose_backend_is_refused_is_named_with_the_next_step(loop, folder):
    """A person ran `create` again, and had two projects."""
    loop.studio.refuses_private_addresses = True
    printed = loop.cli(
        *("create", str(folder / "images"), "--labels", "cell"), BACKEND_URL=loop.url, well=False
    )
    assert "SSRF_PROTECTION_ENABLED=false" in printed and "token of a user" not in printed
    number = project_of(printed)
    assert f"`python -m backend connect --project {number}`. Do not create it again" in printed


def test_without_labels_the_names_are_given(loop, folder):
    printed = loop.cli(
        *("create", str(folder / "images"), "--labels", 'a, "b" & <c>', "--title", "Mine"),
        BACKEND_URL=loop.url,
    )
    row = loop.studio.api("GET", f"/api/projects/{project_of(printed)}/")
    assert row["title"] == "Mine" and "0 of them labelled" in printed
    assert "Its labels: 'a', '\"b\" & <c>'." in printed
    assert parse_label_config(row["label_config"]).label_map.names == ("a", '"b" & <c>')


def test_what_cannot_be_made_is_said_before_anything_is_made(loop, folder):
    images = str(folder / "images")
    before = len(loop.studio.api("GET", "/api/projects/")["results"])
    for arguments, said in [
        ((images,), "--labels a,b (the names of the labels), or --coco FILE"),
        ((images, "--labels", "a", "--coco", str(folder / "instances.json")), "got both"),
        ((str(folder / "nowhere"), "--labels", "a"), "nowhere does not exist"),
        ((images, "--labels", "a", "--draw", "pencil"), "brush, bitmask, polygon, rectangle"),
    ]:
        assert said in loop.cli("create", *arguments, well=False)
    assert len(loop.studio.api("GET", "/api/projects/")["results"]) == before


def test_the_folder_then_the_address_then_the_images_are_checked(loop, folder):
    def said(name, **settings):
        return loop.cli("create", str(folder / name), "--labels", "a", well=False, **settings)

    (folder / "empty").mkdir()
    assert "nowhere does not exist" in said("nowhere", LABEL_STUDIO_API_KEY="wrong")
    assert "LABEL_STUDIO_URL" in said("empty", LABEL_STUDIO_URL="")
    refused = said("empty", LABEL_STUDIO_API_KEY="wrong")
    assert "token" in refused and "image files" not in refused
    assert "image files" in said("empty")


def test_a_coco_file_of_more_images_than_the_folder_has(folder, capsys):
    coco = json.loads((folder / "instances.json").read_text())
    (folder / "images" / coco["images"][0]["file_name"]).unlink()
    with pytest.raises(DataError, match=r"1 images whose file is not there.*--skip-bad goes on"):
        create_.plan(folder / "images", folder / "instances.json", "")
    made = create_.plan(folder / "images", folder / "instances.json", "", skip_bad=True)
    assert len(made.files) == len(coco["images"]) - 1
    assert "leaves out 1 images" in capsys.readouterr().err


def test_files_of_one_name_in_two_folders_are_two_uploads(tmp_path):
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "1.png").write_bytes(b"")
    (tmp_path / "2.PNG").write_bytes(b"")
    made = create_.plan(tmp_path, None, "a")
    assert set(made.files) == {"2.PNG", "train__1.png", "test__1.png"}
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingsError, match="found none"):
        create_.plan(tmp_path / "empty", None, "a")


def test_a_missing_folder_and_a_missing_coco_file_are_named(tmp_path):
    with pytest.raises(SettingsError, match=r"folder of images, /nonexistent does not exist\."):
        create_.plan(Path("/nonexistent"), None, "a")
    (tmp_path / "1.png").write_bytes(b"")
    with pytest.raises(SettingsError, match=r"folder of images, .*png is a file"):
        create_.plan(tmp_path / "1.png", None, "a")
    with pytest.raises(SettingsError, match=r"none\.json does not exist\.$"):
        create_.plan(tmp_path, tmp_path / "none.json", "")
    with pytest.raises(DataError, match=r"none\.json: .* does not exist\.$"):
        read_coco_json(tmp_path / "none.json", Findings())


def test_crowds_make_an_image_unlabelled_not_background(folder):
    file = folder / "instances.json"
    coco = json.loads(file.read_text())
    coco["annotations"][0]["iscrowd"] = 1
    file.write_text(json.dumps(coco))
    made = create_.plan(folder / "images", file, "", "ignore")
    assert len(made.labelled) == 2 and any("1 images have crowds" in one for one in made.left_out)
    assert len(create_.plan(folder / "images", file, "", "objects").labelled) == 3


def test_an_uploaded_file_is_known_by_its_name():
    assert belongs_to("/data/upload/7/0123abcd-a_b.png", "a b.png")
    assert belongs_to("/data/upload/7/0123abcd-" + "x" * 60 + "_7fK.png", "x" * 90 + ".png")
    assert not belongs_to("/data/upload/7/0123abcd-ab.png", "ac.png")
    assert not belongs_to("", "ac.png")


def test_a_label_survives_the_labelling_config():
    names = ('a "quoted" & <odd> name', "it's", "plain")
    for draw in ("brush", "rectangle"):
        xml = label_config(LabelMap(names), draw)
        assert parse_label_config(xml).label_map.names == names
