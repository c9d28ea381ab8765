"""/metrics of several web processes (WORKERS): each answers with the sums of all."""

import os
import re
import signal
import subprocess
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest

from backend.commands.serve import environment_of, web_command
from backend.settings import load_settings
from demo.studio import free_port
from tests.studio.processes import wait_for

ROOT = Path(__file__).resolve().parents[3]
HEALTH = re.compile(r'^taudis_request_seconds_count\{route="/health",status="2xx"\} (\S+)', re.M)


class Gunicorn:
    """Two web processes, as they are served, and kept connections to known ones of them."""

    def __init__(self, folder):
        self.port = free_port()
        settings = load_settings(model_dir=folder / "data", port=self.port, workers=2)
        environment = {**os.environ, **environment_of(settings), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(web_command(settings), cwd=ROOT, env=environment)
        self.main, self.made = psutil.Process(self.process.pid), []

    def end(self):
        for connection in self.made:
            connection.close()
        self.process.terminate()
        self.process.wait(20)

    def connected(self):
        """A new connection with one answered request, and the id of the process that answered."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        self.made.append(connection)
        try:
            get(connection, "/health")
        except OSError:
            return None
        ours = connection.sock.getsockname()
        for child in self.main.children():
            for found in child.net_connections("tcp"):
                if found.raddr and tuple(found.raddr) == ours:
                    return child.pid, connection
        return None

    def one_each(self):
        """Process id -> a connection to it, of both processes."""
        found = {}

        def both():
            if made := self.connected():
                found.setdefault(*made)
            return len(found) == 2

        wait_for(both, "both web processes")
        return found


def get(connection, path, status=200):
    connection.request("GET", path)
    answer = connection.getresponse()
    text = answer.read().decode()
    assert answer.status == status, text
    return text


def counted(connection):
    """Requests of /health that /metrics has."""
    return float(HEALTH.search(get(connection, "/metrics"))[1])


@pytest.fixture
def gunicorn(tmp_path):
    made = Gunicorn(tmp_path)
    try:
        yield made
    finally:
        made.end()


@pytest.mark.slow
def test_each_process_answers_with_the_sums_and_no_counter_falls(gunicorn):
    connections = gunicorn.one_each()
    first, second = connections.values()
    before = counted(first)
    for connection, requests in ((first, 3), (second, 5)):
        for _ in range(requests):
            get(connection, "/health")
    assert [counted(each) for each in (first, second, first)] == [before + 8] * 3
    for _ in range(2):
        get(first, "/nothing", 404)
    for each in (first, second):
        assert 'taudis_errors_total{kind="request_refused"} 2.0' in get(each, "/metrics")
    assert get(first, "/metrics").count("# TYPE taudis_request_seconds histogram") == 1

    (folder,) = {
        Path(found.path).parent
        for found in psutil.Process(next(iter(connections))).memory_maps()
        if "taudis-metrics-" in found.path
    }
    os.kill(next(iter(connections)), signal.SIGKILL)  # the second one, and a new one, go on
    wait_for(
        lambda: {child.pid for child in gunicorn.main.children()} - set(connections),
        "another web process",
    )
    assert counted(second) >= before + 8
    gunicorn.end()
    assert not folder.exists()
