"""`python -m backend doctor` finds each fault of a real project, and says what to do."""

import re
from pathlib import Path

import pytest
import requests

from demo.studio import ADMIN, LabelStudio
from tests.studio.conftest import EXECUTABLE, TEMPLATE
from tests.studio.loop import PASSWORD, USER, Loop, make_pictures, make_project
from tests.studio.processes import wait_for

pytestmark = [pytest.mark.studio, pytest.mark.slow]

FAQ = (Path(__file__).resolve().parents[2] / "docs" / "faq.md").read_text(encoding="utf-8")
NO_IMAGE = """<View><Text name="text" value="$text"/>
<Choices name="c" toName="text"><Choice value="a"/></Choices></View>"""
NO_LABELS = """<View><Image name="image" value="$image"/>
<KeyPointLabels name="k" toName="image"><Label value="a"/></KeyPointLabels></View>"""


def failures(printed):
    """The failed checks by project ('' is the machine): check -> (finding, remedy)."""
    found, project = {}, ""
    for line in re.split(r"\n(?=ok |FAIL )", printed.strip()):
        mark, check, text = re.match(r"(ok|FAIL)\s+([^:]+): (.*)", line, re.DOTALL).groups()
        if named := re.fullmatch(r"project (\d+)", check):
            project = int(named[1])
        if mark == "FAIL":
            assert "->" in text, f"{check} fails without a remedy"
            said, _, remedy = text.partition("->")
            assert remedy.strip()
            found.setdefault(project, {})[check] = (said.strip(), remedy.strip())
    return found


@pytest.fixture(scope="module")
def loop(studio, tmp_path_factory):
    """A backend with credentials; tests stop its worker before they break something."""
    made = Loop(studio, tmp_path_factory.mktemp("doctor"))
    try:
        made.start_web()
        made.start_worker()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return make_pictures(tmp_path_factory.mktemp("pictures"), 3, size=64)


@pytest.fixture(scope="module")
def works(loop, pictures):
    """Three projects without a fault."""
    made = [make_project(loop, pictures, f"Patient {number}", part=3) for number in range(3)]
    assert failures(loop.cli("doctor")) == {}
    loop.worker.end()
    return made


def test_an_annotator_sees_a_password_that_opens_the_webhook_alone(loop, works):
    """Label Studio 1.23.2 shows the headers of a webhook to every user of the organisation."""
    one = loop.studio.create_user("an.annotator@example.org")
    session = loop.studio.login_session(one.email, one.password)
    (hook,) = session.get(
        f"{loop.studio.url}/api/webhooks/", params={"project": works[0].id}, timeout=30
    ).json()
    headers = hook["headers"]
    assert headers["Authorization"].startswith("Basic ")
    body = {"action": "ANNOTATION_CREATED"}
    assert requests.post(hook["url"], json=body, headers=headers, timeout=30).status_code == 200
    for path in ("", f"/projects/{works[0].id}"):
        assert requests.get(f"{loop.url}{path}", headers=headers, timeout=30).status_code == 401
    for action in ("train", "rollback", "promote"):
        url = f"{loop.url}/projects/{works[0].id}/{action}"
        assert requests.post(url, headers=headers, timeout=30).status_code == 401, action


def test_what_is_wrong_in_label_studio(loop, works):
    studio = loop.studio
    deaf, strange, clashing = works
    for work, change in ((deaf, None), (strange, {"headers": {}})):
        for hook in studio.api("GET", "/api/webhooks/", params={"project": work.id}):
            if change is None:
                studio.api("DELETE", f"/api/webhooks/{hook['id']}/")
            else:
                studio.api("PATCH", f"/api/webhooks/{hook['id']}/", json=change)
    form = {"project": clashing.id, "url": loop.url, "title": clashing.version()}
    form |= {"auth_method": "BASIC_AUTH", "basic_auth_user": USER, "basic_auth_pass": PASSWORD}
    studio.api("PATCH", f"/api/ml/{clashing.backend}", json=form)
    before = {"annotator_evaluation_enabled": True, "show_overlap_first": True}
    studio.api("PATCH", f"/api/projects/{deaf.id}/", json={**before, "maximum_annotations": 2})
    odd = {}
    for name, config in (("image", NO_IMAGE), ("labels", NO_LABELS)):
        odd[name] = studio.create_project(f"No {name}", config)
        studio.connect_backend(odd[name], loop.url, "TAUDIS", (USER, PASSWORD))

    found = failures(loop.cli("doctor", well=False))
    assert "no webhook" in found[deaf.id]["webhook"][0]
    assert "worker" in found[deaf.id]["webhook"][1]
    assert "Authorization" in found[strange.id]["webhook"][0]
    assert "equals a model version" in found[clashing.id]["backend title"][0]
    assert "another title" in found[clashing.id]["backend title"][1]
    assert all(field in found[deaf.id]["tasks before the order"][0] for field in before)
    assert "PATCH" in found[deaf.id]["tasks before the order"][1]
    assert "Image" in found[odd["image"]]["labelling config"][0]
    assert "BrushLabels" in found[odd["labels"]]["labelling config"][0]
    assert "Labeling Interface" in found[odd["labels"]]["labelling config"][1]


def test_label_studio_unreachable_and_weights_that_are_not_there(loop, works):
    project = str(works[0].id)
    printed = loop.cli(
        "doctor",
        "--project",
        project,
        well=False,
        LABEL_STUDIO_URL="http://127.0.0.1:9",
        WEIGHTS="/nonexistent.safetensors",
    )
    found = failures(printed)[""]
    assert "127.0.0.1:9" in found["Label Studio reachable"][0]
    assert "LABEL_STUDIO_URL" in found["Label Studio reachable"][1]
    assert "/nonexistent.safetensors" in found["initial weights"][0]
    assert "WEIGHTS=none" in found["initial weights"][1]


def test_a_wrong_token_and_weights_without_a_network(loop, works, tmp_path):
    nowhere = "http://127.0.0.1:9"
    printed = loop.cli(
        "doctor",
        "--project",
        str(works[0].id),
        well=False,
        LABEL_STUDIO_API_KEY="0" * 40,
        WEIGHTS="coco",
        TORCH_HOME=str(tmp_path),
        HTTPS_PROXY=nowhere,
        https_proxy=nowhere,
        NO_PROXY="127.0.0.1",
        no_proxy="127.0.0.1",
    )
    found = failures(printed)[""]
    assert "LABEL_STUDIO_API_KEY" in found["access token"][1]
    assert "download" in found["initial weights"][0].lower()
    assert "WEIGHTS=" in found["initial weights"][1]
    assert "0" * 40 not in printed


def test_a_label_studio_that_refuses_private_addresses(pictures, tmp_path):
    """With Label Studio's default it refuses private addresses; doctor names both variables."""
    guarded = {"SSRF_PROTECTION_ENABLED": "true", "ML_BLOCK_LOCAL_IP": "true"}
    with LabelStudio(
        EXECUTABLE, template=TEMPLATE, environment=guarded, log=tmp_path / "studio.log"
    ) as studio:
        loop = Loop(studio, tmp_path / "data", LABEL_STUDIO_API_KEY=ADMIN.token)
        try:
            work = make_project(loop, pictures, "Guarded", connect=False)
            printed = loop.cli("doctor", "--project", str(work.id), well=False)
            found = failures(printed)
            said, remedy = found[""]["address accepted"]
            assert loop.url.rpartition(":")[2] in said
            assert "SSRF_PROTECTION_ENABLED=false" in remedy
            assert "ML_BLOCK_LOCAL_IP=false" in remedy
            assert "Connect Model" in found[work.id]["backend connected"][1]
        finally:
            loop.close()


def test_the_narrow_remedy_of_the_faq_lets_in_loopback_alone(pictures, tmp_path):
    """docs/faq.md: protection stays on, and Label Studio takes a backend on this machine."""
    (line,) = re.findall(
        r"^USE_DEFAULT_BANNED_SUBNETS=.*?(?=\S*label-studio start)", FAQ, re.M | re.S
    )
    pairs = (pair.split("=", 1) for pair in line.replace("\\\n", " ").split())
    guarded = {"SSRF_PROTECTION_ENABLED": "true", "ML_BLOCK_LOCAL_IP": "true", **dict(pairs)}
    with LabelStudio(
        EXECUTABLE, template=TEMPLATE, environment=guarded, log=tmp_path / "studio.log"
    ) as studio:
        loop = Loop(studio, tmp_path / "data", LABEL_STUDIO_API_KEY=ADMIN.token)
        try:
            loop.start_web()
            loop.start_worker()
            work = make_project(loop, pictures, "Guarded narrowly", part=3)
            assert failures(loop.cli("doctor", "--project", str(work.id))) == {}
            for address in ("10.1.2.3", "172.17.0.2", "192.168.0.9", "169.254.169.254"):
                reasons = work.client.refuses_address(f"http://{address}:9090")
                assert len(reasons) == 2, "as a backend and as a webhook"
        finally:
            loop.close()


def test_what_was_wrong_is_put_right_by_the_worker(loop, works):
    """The worker restores its webhooks, with their header, at its next poll."""
    loop.start_worker()
    project = str(works[1].id)
    hooks = loop.studio.api
    wait_for(
        lambda: hooks("GET", "/api/webhooks/", params={"project": project})[0]["headers"],
        "the header",
    )
    assert failures(loop.cli("doctor", "--project", project)) == {}
