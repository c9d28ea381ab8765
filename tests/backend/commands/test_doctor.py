"""The doctor names what stands in the way, each with what to do."""

import re

import pytest

from demo.studio import ADMIN


def findings(printed):
    """Check -> (whether it is well, what was found, what to do)."""
    found = {}
    said_by_log = re.compile(r"^\{.*\}\n", re.M)
    for line in re.split(r"\n(?=ok |FAIL )", said_by_log.sub("", printed).strip()):
        mark, check, text = re.match(r"(ok|FAIL)\s+([^:]+): (.*)", line, re.DOTALL).groups()
        said, _, remedy = text.partition("->")
        assert (mark == "FAIL") == bool(remedy.strip()), line
        found[check] = (mark == "ok", said.strip(), remedy.strip())
    return found


def failures(project, **settings):
    """The checks that fail: check -> what was found, what to do."""
    printed = project.cli("doctor", well=False, **settings)
    return {name: each[1:] for name, each in findings(printed).items() if not each[0]}


@pytest.fixture
def project(loop):
    return loop.project(2)


@pytest.mark.slow
def test_a_project_that_is_well(project):
    found = findings(project.cli("doctor"))
    assert all(well for well, _, _ in found.values())
    assert project.version() in found["served order"][1]
    assert found["webhook"][1].endswith(f"/webhook?project={project.id}")
    assert "square, bar" in found["labelling config"][1]
    assert ADMIN.email in found["access token"][1]
    assert found["task sampling"][1] == "Uncertainty sampling"


@pytest.mark.slow
def test_no_webhook_a_bare_one_and_two(project):
    (hook,) = project.hooks()
    project.client.create_webhook(project.id, url=f"{project.loop.url}/webhook")
    assert "2 rows" in failures(project)["webhook"][0]
    for each in project.hooks()[1:]:
        project.client.delete_webhook(each["id"])
    project.client.patch_webhook(hook["id"], headers={}, actions=hook["actions"])
    assert "Authorization" in failures(project)["webhook"][0]
    project.client.delete_webhook(hook["id"])
    found, remedy = failures(project)["webhook"]
    assert "no webhook" in found and "worker" in remedy


@pytest.mark.slow
def test_a_title_like_a_version_another_sampling_another_version(project):
    ours = project.version()
    row = {"task": project.tasks()[0]["id"], "result": [], "score": 1.0, "model_version": "theirs"}
    project.client.import_predictions(project.id, [row])
    project.client.patch_project(project.id, sampling="Uniform sampling", model_version="theirs")
    path = f"/api/ml/{project.backend}"
    form = {"project": project.id, "url": project.loop.url, "title": ours}
    project.loop.studio.api("PATCH", path, json=form)
    found = failures(project)
    assert set(found) == {"backend title", "task sampling", "served order"}
    assert ours in found["backend title"][0] and "another title" in found["backend title"][1]
    assert found["task sampling"][0] == "Uniform sampling"
    assert found["served order"][0] == f"'theirs', ours is '{ours}'"


@pytest.mark.slow
def test_a_label_studio_that_refuses_private_addresses(project):
    before = len(project.hooks())
    project.loop.studio.refuses_private_addresses = True
    found, remedy = failures(project)["address accepted"]
    assert project.loop.url in found and found.count("reserved network address") == 2
    assert "SSRF_PROTECTION_ENABLED=false" in remedy and "ML_BLOCK_LOCAL_IP=false" in remedy
    assert len(project.hooks()) == before  # asking made nothing


@pytest.mark.slow
def test_nothing_is_connected(loop):
    project = loop.project(1, connect=False)
    found = failures(project)
    assert "found none" in found["backend connected"][0]
    assert "Connect Model" in found["backend connected"][1]
    assert "no order was published" in found["served order"][0]


@pytest.mark.slow
def test_while_the_first_round_makes_the_order_nothing_is_wrong(loop):
    project = loop.project(2, connect=False)
    project.connect()
    loop.worker.scheduler_turn(loop.lease)
    assert project.version() == "TAUDIS", "Label Studio wrote the title"
    found = findings(project.cli("doctor"))
    assert all(well for well, _, _ in found.values()), found
    assert "round 1 makes the first" in found["served order"][1]


@pytest.mark.slow
def test_a_config_without_masks(loop):
    config = '<View><Image name="image" value="$image"/><KeyPointLabels name="k" toName="image">'
    project = loop.project(1, config + '<Label value="a"/></KeyPointLabels></View>', connect=False)
    found, remedy = failures(project)["labelling config"]
    assert "BrushLabels" in found and "Labeling Interface" in remedy


@pytest.mark.slow
def test_a_damaged_model_that_serves(project):
    model = project.give_model()
    assert "1 kept, all whole" in project.cli("doctor")
    weights = project.loop.data / "models" / str(project.id) / model / "model.safetensors"
    (file,) = [path for path in weights.parent.iterdir() if path.suffix == ".safetensors"]
    content = file.read_bytes()
    file.unlink()  # a link to the file that tests share
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    found, remedy = failures(project)["model files"]
    assert f"{model}, which serves" in found and "backup" in remedy
    assert "DAMAGED" in project.cli("versions")


@pytest.mark.slow
def test_tokens_and_addresses_that_are_wrong(project):
    found = failures(project, LABEL_STUDIO_API_KEY="0" * 40)
    assert list(found) == ["access token"]  # one cause, one line
    said, remedy = found["access token"]
    assert "It comes from LABEL_STUDIO_API_KEY." in said
    assert (said + remedy).count("give it as LABEL_STUDIO_API_KEY") == 1
    project.loop.studio.allow_legacy_tokens(False)
    assert "personal access token" in failures(project)["access token"][1]
    personal = project.loop.studio.personal_token(ADMIN)
    assert "FAIL" not in project.cli("doctor", LABEL_STUDIO_API_KEY=personal)
    project.loop.studio.access.expire()
    assert "FAIL" not in project.cli("doctor", LABEL_STUDIO_API_KEY=personal)


def test_what_is_wrong_with_the_machine(project):
    settings = {"HOST": "0.0.0.0", "BASIC_AUTH_USER": "", "BASIC_AUTH_PASS": ""}
    found = failures(project, WEIGHTS="/nowhere/at/all.pt", **settings)
    assert "BASIC_AUTH_USER" in found["listen address"][1]
    assert "WEIGHTS=none" in found["initial weights"][1]


def test_before_a_project_is_connected_label_studio_is_asked_all_the_same(loop):
    found = findings(loop.cli("doctor").split("No project is connected")[0])
    assert ADMIN.email in found["access token"][1] and found["Label Studio reachable"][0]
    wrong = findings(
        loop.cli("doctor", well=False, LABEL_STUDIO_API_KEY="0" * 40).split("No project")[0]
    )
    assert not wrong["access token"][0] and "LABEL_STUDIO_API_KEY" in wrong["access token"][2]


def test_a_misspelt_setting_and_the_paper_s_recipe(project):
    found = failures(project, BUGET="3", RECIPE="paper")
    assert "is BUDGET meant?" in found["variables"][0]
    assert "WEIGHTS=coco" in found["initial weights"][1]


@pytest.mark.slow
def test_a_project_that_a_person_disconnected(project):
    project.cli("disconnect")
    found = findings(project.cli("doctor"))
    well, said, _ = found["connection"]
    assert well and f"connect --project {project.id}` connects it again" in said
    assert not {"webhook", "task sampling", "served order"} & found.keys()


def lines(printed, check):
    """The printed lines of one check."""
    return re.findall(rf"^(?:ok|FAIL) +{check}.*", printed, re.M)


@pytest.mark.slow
def test_a_fault_that_concerns_every_project_is_told_once_and_first(loop):
    projects = [loop.project(1) for _ in range(3)]
    loop.studio.refuses_private_addresses = True
    printed = loop.cli("doctor", well=False)
    (address,) = lines(printed, "address accepted")
    assert "FAIL" in address and printed.count("FAIL") == 1
    first = printed.index(f" project {projects[0].id}:")
    for check in ("Label Studio reachable", "access token", "worker", "listings"):
        (line,) = lines(printed, check)
        assert printed.index(line) < first, check
    refused = loop.cli("doctor", well=False, LABEL_STUDIO_API_KEY="0" * 40)
    assert len(lines(refused, "access token")) == 1 and " project 1:" not in refused


@pytest.mark.slow
def test_a_backend_that_was_stopped_is_a_fault(loop):
    project = loop.project(2)
    loop.store.release(loop.lease)
    loop.stop_web()
    found = failures(project)
    assert "no round starts" in found["worker"][0] and "serve" in found["worker"][1]
    assert "Disconnected" in found["backend connected"][0]


@pytest.mark.slow
def test_projects_that_wait_for_a_worker_are_one_line(loop):
    for _ in range(2):
        loop.project(1, connect=False).connect()
    loop.store.release(loop.lease)
    printed = loop.cli("doctor", well=False)
    (worker,) = lines(printed, "worker")
    assert "FAIL" in worker and "projects 1, 2 are without an order" in worker
    assert all("ok" in line for line in lines(printed, "served order"))


@pytest.mark.slow
def test_where_the_token_comes_from_and_what_to_do_if_none_is_known(make_loop):
    """Label Studio sends its token when the project is connected, if legacy tokens are on."""
    keyless = {"LABEL_STUDIO_API_KEY": ""}
    loop = make_loop(**keyless)
    project = loop.project(1)
    said = findings(project.cli("doctor"))["access token"][1]
    assert ADMIN.email in said and "sent when the project was connected" in said
    given = loop.cli("doctor", LABEL_STUDIO_API_KEY=ADMIN.token)
    assert "by LABEL_STUDIO_API_KEY" in findings(given)["access token"][1]
    for file in (loop.data / "secrets").glob("*.token"):
        file.unlink()
    found, remedy = failures(project)["access token"]
    assert "LABEL_STUDIO_API_KEY is not set where this command runs" in found
    assert "sent none when the project was connected" in found
    assert "Set LABEL_STUDIO_API_KEY" in remedy and "only this shell lacks them" in remedy
    assert len(lines(loop.cli("doctor", well=False), "Label Studio reachable")) == 0
