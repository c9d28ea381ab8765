"""Starts and stops a real Label Studio on loopback, and uses it like people in a browser.

Each method sends the same requests as the page: signing up by the invite link, logging in,
importing files, and connecting a backend with the form of the Model page.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

from demo.errors import DemoError
from demo.studio_template import environment_of, migrated

UPLOAD_CHUNK = 50
"""Files in one request. Label Studio refuses more than DATA_UPLOAD_MAX_NUMBER_FILES (100)."""


@dataclass(frozen=True)
class Login:
    """A person's account in Label Studio."""

    email: str
    password: str = field(repr=False)
    token: str = field(repr=False)  # legacy API token, 40 characters


ADMIN = Login("admin@demo.example", "demo-admin-1", "d" * 39 + "1")
"""The first account of a fresh Label Studio, which listens on loopback only."""


class LabelStudio:
    """A Label Studio process with its data directory; a context manager.

    Args:
        executable: `label-studio` of its virtual environment.
        data: data directory, made if missing. None: a temporary directory, removed at exit.
        template: folder of migrated data directories, one per version; a fresh data directory is
            copied from it. None runs the migrations in the data directory (about 20 s).
        port: loopback port. None chooses a free port and keeps it over restarts.
        admin: the account that the first start creates.
        legacy_tokens: whether `Authorization: Token` is allowed (Label Studio's default: no).
        fast_import: switch on FAST_IMPORT_FLAG.
        environment: more variables of the process, which override those of `environment_of`.
        log: file to append the output to. None: `label-studio.log` in the data directory.
        start_within: time limit for the first answer of /health, seconds.
    """

    def __init__(
        self,
        executable: Path,
        data: Path | None = None,
        *,
        template: Path | None = None,
        port: int | None = None,
        admin: Login = ADMIN,
        legacy_tokens: bool = True,
        fast_import: bool = False,
        environment: Mapping[str, str] | None = None,
        log: Path | None = None,
        start_within: float = 240,
    ) -> None:
        self.executable = executable.absolute()
        self.temporary = data is None
        self.data = Path(tempfile.mkdtemp(prefix="studio-")) if data is None else data.absolute()
        self.template, self.admin, self.start_within = template, admin, start_within
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log.absolute() if log else self.data / "label-studio.log"
        self._legacy_tokens = legacy_tokens
        self._environment = environment_of(self.data, legacy_tokens, fast_import)
        self._environment.update(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._session: requests.Session | None = None
        self._personal_tokens: dict[str, str] = {}

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def running(self) -> bool:
        """Whether the process is running."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process and wait until /health answers.

        Raises:
            DemoError: the process ended or did not answer in time, with the end of its log.
        """
        self._prepare()
        command = [str(self.executable), "start", "--no-browser", "--internal-host", "127.0.0.1"]
        command += ["--port", str(self.port), "--username", self.admin.email]
        command += ["--password", self.admin.password, "--user-token", self.admin.token]
        if self._legacy_tokens:
            command.append("--enable-legacy-api-token")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.data,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        atexit.register(self.stop)
        self._wait_until_healthy()

    def stop(self) -> None:
        """End the whole process group. The data directory stays."""
        process, self._process, self._session = self._process, None, None
        if process is None:
            return
        for end in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, end)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)
                break
        atexit.unregister(self.stop)

    def restart(self) -> None:
        """Stop and start again with the same data and port."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop the process, and remove the data directory if it is temporary."""
        self.stop()
        if self.temporary:
            shutil.rmtree(self.data, ignore_errors=True)

    def login_session(self, email: str, password: str) -> requests.Session:
        """Log in as a browser does, with the form and its CSRF token.

        Returns:
            A session whose later requests carry the login and the token.

        Raises:
            DemoError: Label Studio refused the login.
        """
        session = requests.Session()
        session.get(f"{self.url}/user/login/", timeout=60).raise_for_status()
        form = {"email": email, "password": password, "persist_session": "on"}
        self._post_form(session, "/user/login/", form)
        return session

    def api(self, method: str, path: str, **kwargs: Any) -> Any:
        """Send one request as the administrator, in a browser's session.

        Returns:
            The decoded JSON of the response, None if it is empty.

        Raises:
            DemoError: a status from 400 on, with the text of the response.
        """
        if self._session is None:
            self._session = self.login_session(self.admin.email, self.admin.password)
        return _json(self._session.request(method, self.url + path, timeout=300, **kwargs))

    def create_user(self, email: str, password: str | None = None) -> Login:
        """Sign up another person by the invite link. Returns the account with its token."""
        password = password or secrets.token_urlsafe(12)
        session = requests.Session()
        page = self.api("GET", "/api/invite")["invite_url"]
        session.get(self.url + page, timeout=60).raise_for_status()
        self._post_form(session, page, {"email": email, "password": password})
        token = _json(session.get(f"{self.url}/api/current-user/token", timeout=60))["token"]
        return Login(email, password, token)

    def personal_token(self, login: Login) -> str:
        """The person's personal access token (a JWT), created like on the account page.

        Label Studio shows a token once and refuses to create a second token, so it is kept here.
        """
        if login.email not in self._personal_tokens:
            session = self.login_session(login.email, login.password)
            created = _json(session.post(f"{self.url}/api/token/", json={}, timeout=60))
            self._personal_tokens[login.email] = str(created["token"])
        return self._personal_tokens[login.email]

    def allow_legacy_tokens(self, allowed: bool) -> None:
        """Switch `Authorization: Token` on or off for the organisation (its access settings)."""
        body = {"api_tokens_enabled": True, "legacy_api_tokens_enabled": allowed}
        self.api("POST", "/api/jwt/settings", json=body)

    def create_project(self, title: str, label_config: str, **fields: Any) -> int:
        """Create a project with its labelling config: its id. Titles need three characters."""
        body = {"title": title, "label_config": label_config, **fields}
        return int(self.api("POST", "/api/projects/", json=body)["id"])

    def upload(self, project: int, files: Iterable[Path]) -> int:
        """Import files like the import page, under `/data/upload/`. Returns the number of tasks."""
        rest, count = iter(files), 0
        while chunk := list(islice(rest, UPLOAD_CHUNK)):
            # One field per file, as on the page: Label Studio reads only the last file of a field.
            parts = {path.name: (path.name, path.read_bytes()) for path in chunk}
            imported = self.api("POST", f"/api/projects/{project}/import", files=parts)
            count += int(imported["task_count"])
        return count

    def connect_backend(
        self, project: int, url: str, title: str, auth: tuple[str, str] | None = None
    ) -> int:
        """Add a model with the request of the Model page's form. Returns its id."""
        form = model_form(project, url, title, auth)
        return int(self.api("POST", "/api/ml", json=form)["id"])

    def start_training(self, backend: int) -> Any:
        """Press Start Training on the Model page."""
        return self.api("POST", f"/api/ml/{backend}/train")

    def _prepare(self) -> None:
        """Fill a fresh data directory from the template of this Label Studio version."""
        self.data.mkdir(parents=True, exist_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.template is None or (self.data / "label_studio.sqlite3").exists():
            return
        shutil.copytree(migrated(self.executable, self.template), self.data, dirs_exist_ok=True)

    def _wait_until_healthy(self) -> None:
        """Wait until /health answers. Raises DemoError with the end of the log."""
        limit = time.monotonic() + self.start_within
        while time.monotonic() < limit and self.running:
            with contextlib.suppress(requests.RequestException):
                if requests.get(f"{self.url}/health", timeout=5).ok:
                    return
            time.sleep(0.2)
        end = self.log.read_text(errors="replace")[-1500:]
        self.stop()
        raise DemoError(f"Label Studio did not answer {self.url}/health. Its log ends with:\n{end}")

    def _post_form(self, session: requests.Session, page: str, form: dict[str, str]) -> None:
        """Post a form with its CSRF token. Raises DemoError if Label Studio does not redirect."""
        token = session.cookies.get("csrftoken") or ""
        form = {**form, "csrfmiddlewaretoken": token}
        response = session.post(self.url + page, data=form, timeout=60, allow_redirects=False)
        if response.status_code != 302:
            raise DemoError(f"Label Studio refused the form at {page}: {response.status_code}.")
        session.headers["X-CSRFToken"] = session.cookies.get("csrftoken") or ""
        session.headers["Referer"] = self.url


def model_form(
    project: int, url: str, title: str, auth: tuple[str, str] | None = None
) -> dict[str, Any]:
    """The JSON body of POST /api/ml from the Model page's form (tests/browser compares it)."""
    form: dict[str, Any] = {"project": str(project), "title": title, "url": url}
    form |= {"auth_method": "BASIC_AUTH" if auth else "NONE", "extra_params": ""}
    form["is_interactive"] = False
    if auth:
        form |= {"basic_auth_user": auth[0], "basic_auth_pass": auth[1]}
    return form


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _json(response: requests.Response) -> Any:
    """The decoded JSON; None for an empty response. Raises DemoError from status 400 on."""
    if response.status_code >= 400:
        where = f"{response.request.method} {response.url}"
        raise DemoError(f"{where} gave {response.status_code}: {response.text[:800]}")
    return response.json() if response.content else None
