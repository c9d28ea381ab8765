"""Log lines carry no credential, as JSON and as plain text."""

import io
import json
import logging

import pytest

from backend.logs import lines_of_round, mask, setup_logging

SECRET = "0123456789abcdef0123456789abcdef01234567"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJ1c2VyIjoxfQ.c2lnbmF0dXJl"


@pytest.fixture(autouse=True)
def _logging_as_before():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Token {SECRET}",
        "Authorization: Basic dXNlcjpnZWhlaW0=",
        f"{{'Authorization': 'Bearer {JWT}'}}",
        f'{{"access_token": "{SECRET}"}}',
        f"https://x.example/?access_token={SECRET}&y=1",
        "password=hunter2 next",
        "LABEL_STUDIO_API_KEY=hunter2",
        f"got {JWT}",
        f"got {SECRET}",
        "http://user:hunter2@studio.example/x",
    ],
)
def test_what_looks_like_a_credential_is_masked(text):
    hidden = mask(text)
    assert "***" in hidden
    for secret in (SECRET, JWT, "hunter2", "dXNlcjpnZWhlaW0"):
        assert secret not in hidden


@pytest.mark.parametrize(
    "text",
    [
        "Working with lease 7",
        "Project 7: token is missing, basic labels",
        "http://studio.example/x",
    ],
)
def test_ordinary_lines_stay(text):
    assert mask(text) == text


def test_json_lines_with_masked_traces():
    stream = io.StringIO()
    setup_logging("INFO", stream)
    try:
        raise ValueError(f"token {SECRET}")
    except ValueError:
        logging.getLogger("x").exception("failed with %s", SECRET)
    logging.getLogger("x").debug("not shown")
    line = json.loads(stream.getvalue())
    assert line["level"] == "ERROR" and line["logger"] == "x"
    assert "ValueError" in line["trace"]
    assert SECRET not in stream.getvalue()


def test_json_lines_of_a_round_have_its_id():
    stream = io.StringIO()
    setup_logging("INFO", stream)
    with lines_of_round(7, 12):
        logging.getLogger("x").info("trained")
    logging.getLogger("x").info("polled")
    inside, outside = map(json.loads, stream.getvalue().splitlines())
    assert inside["round"] == "7/12"
    assert "round" not in outside
