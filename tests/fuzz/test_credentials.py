"""F12: missing, wrong, replayed and oversized credentials against a real web process."""

import base64
import hmac
import os
import subprocess
import sys
import unicodedata
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from backend.commands.serve import serve
from backend.errors import SettingsError
from backend.settings import load_settings
from backend.web.app import create_app
from tests.fuzz.malformed import Request, credentials
from tests.fuzz.served import Client, served

ROOT = Path(__file__).resolve().parents[2]
USER, PASSWORD, BEFORE = "l\u00f6di", "geheim:\u00df", "the password of before"
PATHS = (
    "/", "/metrics", "/ready", "/projects/7", "/projects/7/train", "/assets/status.css", "/setup",
    "/predict", "/webhook", "/nothing", "/health/../metrics", "//metrics", "/health/metrics",
    "/HEALTH", "/health%2f..%2fmetrics", "/%2e/metrics", "/health;/../metrics", "/metrics?/health",
)  # fmt: skip
FOR_METHODS = ("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH")


def near_misses():
    """Pairs that are almost the right one."""
    for user in (USER, "lodi", USER.upper(), unicodedata.normalize("NFD", USER), USER + "\x00", ""):
        for password in (
            PASSWORD, PASSWORD[:-1], PASSWORD + " ", " " + PASSWORD, "geheim:ss", PASSWORD.upper(),
            PASSWORD.split(":")[0], BEFORE, "", "\x00", "x" * 5_000,
        ):  # fmt: skip
            if (user, password) != (USER, PASSWORD):
                yield credentials(user, password)
    yield credentials(PASSWORD, USER)


def wrong_headers(seed):
    """Headers that must let nobody in, without end."""
    random, right = Random(seed), credentials(USER, PASSWORD)
    near, packed = list(near_misses()), right.removeprefix("Basic ")
    while True:
        kind = random.randrange(6)
        if kind == 0:
            yield {"Authorization": random.choice(near)}
        elif kind == 1:  # the right words in the wrong place
            name = random.choice(["Proxy-Authorization", "Cookie", "X-Authorization", "X-Api-Key"])
            yield {name: random.choice([right, packed])}
        elif kind == 2:
            scheme = random.choice(
                ["Bearer", "Token", "Digest", "Basic,", "Basic\t\t:", "basicx", ""]
            )
            yield {"Authorization": f"{scheme} {packed}"}
        elif kind == 3:
            at = random.randrange(len(packed))
            changed = packed[:at] + random.choice("AZaz09+/=-_ \xe4") + packed[at + 1 :]
            if base64.b64encode(base64.b64decode(packed)).decode() != changed:
                yield {"Authorization": f"Basic {changed}"}
        elif kind == 4:
            yield {"Authorization": f"{right}, {right}"}
        else:
            yield {"Authorization": "Basic " + "A" * random.choice([0, 1, 4_000, 8_000])}


def is_right(header):
    """Whether a header says the right pair after all, e.g. with another padding."""
    scheme, _, packed = header.get("Authorization", "").partition(" ")
    try:
        pair = base64.b64decode(packed).decode()
    except ValueError:
        return False
    return scheme.lower() == "basic" and pair == f"{USER}:{PASSWORD}"


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.fault("F12", "401")
def test_nobody_gets_in_and_the_answers_do_not_differ(tmp_path, figures, full):
    number, random, let_in, statuses = 20_000 if full else 300, Random(1), [], set()
    with served(tmp_path, basic_auth_user=USER, basic_auth_pass=PASSWORD) as server:
        headers = (each for each in wrong_headers(seed=2) if not is_right(each))
        with Client(server.port) as client:
            for header in islice(headers, number):
                request = Request(random.choice(FOR_METHODS), random.choice(PATHS), header)
                status = client.send(request)
                statuses.add(status)
                # 400: gunicorn refuses the header's form before it reaches us
                let_in += [] if status in (401, 400) else [(status, request)]
                assert status != 401 or client.body in (
                    b"",
                    b'{"error":"Credentials are needed."}\n',
                )
            well = Request("GET", "/metrics", {"Authorization": credentials(USER, PASSWORD)})
            assert client.send(well) == 200
            assert client.send(replace(well, headers={})) == 401
    figures(requests=number, let_in=len(let_in))
    assert not let_in, let_in[:3]
    assert 401 in statuses


@pytest.mark.fault("F12", "time")
def test_both_words_are_compared_in_constant_time_whichever_is_wrong(
    tmp_path, figures, monkeypatch
):
    """By the code's path, not by the clock: always two comparisons, always of 32 bytes."""
    app = create_app(
        load_settings(model_dir=tmp_path, basic_auth_user=USER, basic_auth_pass=PASSWORD)
    )
    compared, compare = [], hmac.compare_digest

    def recorded(one, other):
        compared.append((len(one), len(other)))
        return compare(one, other)

    monkeypatch.setattr("backend.web.auth.hmac.compare_digest", recorded)
    client, tried = app.test_client(), 0
    for header in near_misses():
        compared.clear()
        assert client.get("/metrics", headers={"Authorization": header}).status_code == 401
        assert compared == [(32, 32), (32, 32)], header
        tried += 1
    app.extensions["taudis"].store.close()
    figures(comparisons=2 * tried, let_in=0)


@pytest.mark.fault("F12", "start")
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "taudis.example", ""])
def test_a_public_address_without_credentials_does_not_start(tmp_path, figures, host):
    with pytest.raises(SettingsError, match="Set BASIC_AUTH_USER and BASIC_AUTH_PASS"):
        serve(load_settings(model_dir=tmp_path / "data", host=host))
    for half in ({"basic_auth_user": "u"}, {"basic_auth_pass": "p"}):
        with pytest.raises(SettingsError, match="both BASIC_AUTH_USER and BASIC_AUTH_PASS"):
            load_settings(host=host, **half)
    assert not (tmp_path / "data").exists()
    figures(starts_refused=3, let_in=0)


@pytest.mark.slow
@pytest.mark.fault("F12", "start")
def test_the_process_says_how_to_set_them(tmp_path, figures):
    done = subprocess.run(
        [sys.executable, str(ROOT / "_wsgi.py"), "--host", "0.0.0.0"],
        env={"PATH": os.environ["PATH"], "MODEL_DIR": str(tmp_path / "data")},
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "Set BASIC_AUTH_USER and BASIC_AUTH_PASS" in done.stderr
    assert "Traceback" not in done.stderr
    figures(starts_refused=1, let_in=0)
