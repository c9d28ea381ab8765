"""Real processes: what runs, what is started again, and what ends when the supervisor is gone."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection, RemoteDisconnected
from pathlib import Path

import psutil
import pytest
import requests

from backend.commands.serve import (
    GRACE_SECONDS,
    Child,
    environment_of,
    serve,
    supervise,
    web_command,
)
from backend.errors import SettingsError
from backend.settings import load_settings

ROOT = Path(__file__).resolve().parents[3]
SLEEPER = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]


def wait_for(what, seconds=20.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = what()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.fault("F12", "start")
def test_a_public_address_without_credentials_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="BASIC_AUTH_USER"):
        serve(load_settings(model_dir=tmp_path, host="0.0.0.0"))


def test_a_taken_port_is_refused(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = load_settings(model_dir=tmp_path, port=taken.getsockname()[1])
        with pytest.raises(SettingsError, match="Cannot listen on http://127"):
            serve(settings)


def test_given_settings_reach_the_children(tmp_path):
    (tmp_path / "selection.json").write_text('{"sigma": 0.9}')
    settings = load_settings(
        model_dir=tmp_path, host="::1", basic_auth_user="u", basic_auth_pass="p", train_after=None,
        selection=str(tmp_path / "selection.json"),
        allowed_image_hosts="a.example,b.example", label_studio_url="http://studio.example",
    )  # fmt: skip
    found = environment_of(settings)
    assert found["BASIC_AUTH_PASS"] == "p"
    assert found["LABEL_STUDIO_URL"] == "http://studio.example"
    assert found["ALLOWED_IMAGE_HOSTS"] == "a.example,b.example"
    assert found["MODEL_DIR"] == str(tmp_path)
    assert found["SELECTION"] == str(tmp_path / "selection.json")
    assert "TRAIN_AFTER" not in found and "PORT" not in found
    assert "[::1]:9090" in web_command(settings)
    assert "p" not in web_command(settings)
    assert web_command(settings).count("--no-control-socket") == 1


@pytest.mark.slow
def test_a_killed_child_starts_again_and_all_end_together():
    one, two = (Child(name, SLEEPER, dict(os.environ)) for name in ("one", "two"))
    over = threading.Event()
    thread = threading.Thread(target=supervise, args=([one, two], over))
    thread.start()
    first = wait_for(lambda: one.process and one.process.pid)
    os.kill(first, signal.SIGKILL)
    second = wait_for(lambda: one.process and one.process.pid != first and one.process.pid)
    last = two.process.pid
    over.set()
    thread.join(15)
    assert two.starts == 1 and one.starts == 2
    assert not psutil.pid_exists(second) and not psutil.pid_exists(last)


@pytest.mark.slow
def test_the_rest_of_a_killed_child_ends_before_it_starts_again():
    """Workers of a killed gunicorn held the port, so that the next one could not listen."""
    # Both processes only wait to be killed; after a minute they end by themselves.
    code = "import os, time; os.fork(); time.sleep(60)"
    child = Child("web", [sys.executable, "-S", "-c", code], dict(os.environ))
    over = threading.Event()
    thread = threading.Thread(target=supervise, args=([child], over))
    thread.start()
    try:
        first = psutil.Process(wait_for(lambda: child.process and child.process.pid))
        (other,) = wait_for(first.children)
        first.kill()
        wait_for(lambda: child.starts == 2)
        assert not other.is_running() or other.status() == psutil.STATUS_ZOMBIE
    finally:
        over.set()
        thread.join(15)


@pytest.mark.slow
def test_a_child_that_dies_at_once_is_started_ever_more_slowly():
    child = Child("broken", [sys.executable, "-S", "-c", "raise SystemExit(3)"], dict(os.environ))
    over = threading.Event()
    thread = threading.Thread(target=supervise, args=([child], over))
    thread.start()
    time.sleep(3)
    over.set()
    thread.join(10)
    assert 2 <= child.starts <= 5
    assert child.pause >= 0.8


@pytest.fixture
def served(tmp_path):
    """`python _wsgi.py`, as `label-studio-ml start .` runs it."""
    port = free_port()
    environment = {**os.environ, "MODEL_DIR": str(tmp_path / "data"), "OMP_NUM_THREADS": "1"}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "_wsgi.py"), "--port", str(port)],
            cwd=tmp_path, env=environment, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield psutil.Process(process.pid), f"http://127.0.0.1:{port}", tmp_path
    finally:
        family = (
            [*psutil.Process(process.pid).children(recursive=True)]
            if process.poll() is None
            else []
        )
        process.terminate()
        process.wait(20)
        for member in family:
            if member.is_running():
                member.kill()


def up(address):
    try:
        return requests.get(address + "/health", timeout=1).ok
    except requests.RequestException:
        return False


def ready(address):
    return up(address) and requests.get(address + "/ready", timeout=2).ok


def child(supervisor, word):
    for found in supervisor.children():
        try:
            if word in " ".join(found.cmdline()):
                return found
        except (psutil.ZombieProcess, psutil.NoSuchProcess):
            continue
    return None


@pytest.mark.slow
def test_killed_processes_come_back_and_none_outlives_the_supervisor(served):
    supervisor, address, folder = served
    wait_for(lambda: ready(address), 60)
    worker, web = child(supervisor, "-m backend"), child(supervisor, "gunicorn")
    worker.kill()
    wait_for(lambda: (c := child(supervisor, "-m backend")) and c.pid != worker.pid)
    wait_for(lambda: ready(address), 60)
    web.kill()
    killed = time.monotonic()
    wait_for(lambda: not up(address), 5)
    wait_for(lambda: up(address), 30)
    print(f"web back after {time.monotonic() - killed:.1f} s")
    family = supervisor.children(recursive=True)
    assert len(family) >= 3
    supervisor.kill()
    wait_for(lambda: not [c for c in family if c.is_running() and c.status() != "zombie"], 20)
    assert "Traceback" not in (folder / "log").read_text()


@pytest.mark.slow
def test_sigterm_ends_everything(served):
    supervisor, address, _ = served
    wait_for(lambda: ready(address), 60)
    family = supervisor.children(recursive=True)
    supervisor.terminate()
    wait_for(lambda: not [c for c in family if c.is_running() and c.status() != "zombie"], 20)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--check"], 0, "can be used"),
        (["--port", "abc", "--check"], 2, "PORT"),
        (["--host", "0.0.0.0", "--check"], 2, "BASIC_AUTH_USER"),
        (["--host", "0.0.0.0", "--basic-auth-user", "u", "--basic-auth-pass", "p", "--check"], 0,
         "can be used"),
        (["--nonsense"], 2, "unrecognized"),
    ],
)  # fmt: skip
def test_arguments_are_checked(tmp_path, arguments, code, words):
    done = subprocess.run(
        [sys.executable, str(ROOT / "_wsgi.py"), *arguments, "--model-dir", str(tmp_path)],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == code
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@contextlib.contextmanager
def web(folder, **limits):
    """Gunicorn as it is served, with limits of its own; its process and port."""
    settings = load_settings(model_dir=folder / "data", port=free_port(), threads=2)
    environment = {**os.environ, **environment_of(settings), "OMP_NUM_THREADS": "1"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            web_command(settings, **limits), cwd=ROOT, env=environment, stdout=log, stderr=log
        )
    try:
        wait_for(lambda: up(f"http://127.0.0.1:{settings.port}"), 60)
        yield process, settings.port
    finally:
        process.kill()
        process.wait(20)


def asked(connection):
    """One request on a kept connection; its headers."""
    connection.request("GET", "/health")
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200
    return answer.headers


def test_idle_connections_are_kept_longer_than_any_caller_pauses(tmp_path):
    command = web_command(load_settings(model_dir=tmp_path))
    assert int(command[command.index("--keep-alive") + 1]) > 600  # Google Cloud's load balancer


@pytest.mark.slow
def test_a_caller_may_reuse_a_connection_after_a_pause(tmp_path):
    """Three seconds: longer than gunicorn's own limit of two, at which the answer was lost."""
    with web(tmp_path, keep_alive=30) as (process, port):
        connection = HTTPConnection("127.0.0.1", port, timeout=10)
        asked(connection)
        kept = connection.sock
        time.sleep(3.5)  # the pause is what is tested
        asked(connection)
        assert connection.sock is kept  # the same one, not a new one behind our back
        # and one that is still kept does not hold up the end
        began = time.monotonic()
        process.terminate()
        assert process.wait(20) == 0
        assert time.monotonic() - began < GRACE_SECONDS
        connection.close()


@pytest.mark.slow
def test_the_limit_is_what_decides(tmp_path):
    with web(tmp_path, keep_alive=1) as (_, port):
        connection = HTTPConnection("127.0.0.1", port, timeout=10)
        asked(connection)
        time.sleep(3.5)  # the limit, and the time until gunicorn looks at its connections
        with pytest.raises((RemoteDisconnected, ConnectionResetError, BrokenPipeError)):
            asked(connection)
        connection.close()


@pytest.mark.slow
def test_idle_connections_do_not_keep_others_out(tmp_path):
    with web(tmp_path, keep_alive=60, connections=5) as (_, port):
        made = [HTTPConnection("127.0.0.1", port, timeout=10) for _ in range(12)]
        said = [asked(connection)["Connection"] for connection in made]
        assert said.count("close") >= 12 - 5
        assert "keep-alive" in said
        [connection.close() for connection in made]
