"""Malformed requests from a seed: every route, valid bodies changed in value, form and bytes."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from types import SimpleNamespace
from typing import cast
from urllib.parse import quote

from backend.web.app import _views
from backend.web.predict import Services
from tests.backend.web.web_cases import CONFIG, setup_body

USER, PASSWORD = "label-studio", "a password"
STUDIO = "http://studio.example:8080"
PROJECT = 7
ROUTES = tuple(path for path, _ in _views(cast(Services, SimpleNamespace(store=None))))
"""Every route of the app."""
FORM = "/projects/<int:number>/<action>"
POSTS = ("/setup", "/predict", "/webhook", "/versions", FORM)
QUERIES = ("project", "more", "labels", "before", "done")
NUMBERS = ("7", "7", "7", "8", "0", "-1", "007", "9" * 25, "7.5", "x", "%37", "\u0667")
ACTIONS = ("train", "rollback", "promote", "unpin", "disconnect", "..", "parts")
ODD_HEADERS = (
    "X-Forwarded-For", "X-Forwarded-Host", "Accept", "Cookie", "Range", "If-Match", "Referer",
    "X-HTTP-Method-Override", "Content-Encoding", "User-Agent",
)  # fmt: skip


@dataclass(frozen=True)
class Request:
    """One request: its method, target and headers as text in Latin-1, and its body's bytes."""

    method: str
    target: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def credentials(user: str = USER, password: str = PASSWORD) -> str:
    """The value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def traversals(planted: str) -> list[str]:
    """Names that lead out of a folder, all to files named `planted`."""
    up = [f"{'../' * depth}{planted}" for depth in (1, 2, 3, 6)]
    return [
        *up, f"/tmp/{planted}", f"..\\..\\{planted}", f"7/../../{planted}", f"%2e%2e/{planted}",
        f"..%2f{planted}", f"file:///tmp/{planted}", f"7\x00/../{planted}", f"~/{planted}",
        f"taudis-0001-a/../../../{planted}", f"....//{planted}", f"7.{'../' * 3}{planted}",
    ]  # fmt: skip


class Malformed:
    """Requests without end. Of one seed always the same."""

    def __init__(self, seed: int, *, planted: str, limit: int, token: str = "") -> None:
        """`planted`: the name that every path traversal aims at. `limit`: of the body, bytes.

        `token`: of the forms of project 7, so that some posts of forms are well.
        """
        self.token = token
        self.random = Random(seed)
        self.limit = limit
        self.paths = traversals(planted)
        self.values = [
            None, True, False, 0, -1, 1, 7, 1.5, 1e308, -1e308, 2**31, 2**63 - 1, 2**63, 10**40,
            "", " ", "7", "7.1", "x", "٧", "7\n", "\x00", "\ud800", "💥" * 50, "A" * 5_000, [], {},
            [[]], [None], {"id": None}, {"id": 7}, {"id": {"id": 7}}, [{"id": 7}], "NaN", "null",
            CONFIG, "<View>", "http://127.0.0.1:1", "http://u:p@studio.example", "' OR 1=1 --",
            "{{7*7}}", "${7*7}", "<script>alert(1)</script>", "%s%n%x", "\u202e", *self.paths,
        ]  # fmt: skip

    def __iter__(self) -> Iterator[Request]:
        while True:
            yield self.request()

    def request(self) -> Request:
        """The next request."""
        path = self.random.choice(POSTS if self.random.random() < 0.7 else ROUTES)
        headers = self._headers()
        if path == FORM and self.random.random() < 0.9:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            headers["Origin"] = self.random.choice(["http://127.0.0.1"] * 8 + ["null", "x", "//"])
        return Request(self._method(path), self._target(path), headers, self._body(path))

    # --- the parts ------------------------------------------------------------------------------

    def _method(self, path: str) -> str:
        if self.random.random() < 0.9:
            return "POST" if path in POSTS else "GET"
        return self.random.choice(["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "X"])

    def _target(self, path: str) -> str:
        pick, chance = self.random.choice, self.random.random
        path = re.sub("<int:[a-z]+>", lambda _: quote(pick(NUMBERS), safe="%"), path)
        path = path.replace("<action>", pick(ACTIONS))
        path = path.replace("<name>", pick(["status.css", "status.js", "..%2f..%2fapp.py", "x"]))
        if chance() < 0.05:
            path = "/" + quote(pick(self.paths), safe="/%.~") + pick(["", "/", path])
        elif chance() < 0.05:
            path += pick(["/", "//", "/..", "/%00", "/%ff", ".json", "/7", ";a=b", "%20"])
        if chance() < 0.3:
            pairs = [(pick(QUERIES), self._text()) for _ in range(self.random.randrange(1, 3))]
            path += "?" + "&".join(f"{key}={quote(value)}" for key, value in pairs)
        elif chance() < 0.05:
            path += pick(["?", "?=", "?project", "?project=%", "?project=%ff", "?" + "a&" * 900])
        return path

    def _text(self) -> str:
        value = self.random.choice(self.values)
        text = value if isinstance(value, str) else json.dumps(value)
        return text.encode("utf-8", "replace").decode()[:1_000]

    def _headers(self) -> dict[str, str]:
        pick, chance = self.random.choice, self.random.random
        found = {"Authorization": credentials(), "Content-Type": "application/json"}
        if chance() < 0.06:
            found["Content-Type"] = pick(
                ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data",
                 "multipart/form-data; boundary=x", "application/json; charset=utf-16", "a/b/c",
                 "application/json;" * 50, "\xff", "application/xml", "*/*"]
            )  # fmt: skip
        if chance() < 0.04:
            found["Authorization"] = pick(
                ["", "Basic", "Basic !", credentials("x"), "Bearer " + "a" * 3_000, "Digest a=b",
                 "Basic \xe4=", "Basic " + "A" * 6_000, "Token \xff",
                 credentials(USER, PASSWORD + "x")]
            )  # fmt: skip
        if chance() < 0.04:
            found["Host"] = pick(["", "evil.example", "[::1", "a:b:c", "\xff", "x" * 300, "a b"])
        if chance() < 0.04:
            found[pick(ODD_HEADERS)] = pick(
                ["", "x" * 4_000, "gzip", "bytes=0-", "\xff\xfe", "DELETE", "a=b;" * 99]
            )
        return found

    def _body(self, path: str) -> bytes:
        chance = self.random.random()
        if path not in POSTS and chance < 0.8:
            return b""
        if chance < 0.03:
            return self._large()
        if chance < 0.07:
            return self._deep()
        if path == FORM:
            return self._form()
        value = self._mutated(self._valid(path))
        if chance < 0.2:
            value = self._mutated(value)
        data = json.dumps(value, ensure_ascii=self.random.random() < 0.7)
        raw = data.encode("utf-8", "surrogatepass")
        return self._damaged(raw) if chance > 0.85 else raw

    def _form(self) -> bytes:
        """The fields of a form of the status page, some of them odd."""
        pick, chance = self.random.choice, self.random.random
        fields = {"token": self.token, "version": pick(["taudis-0001-a", self._text(), ""])}
        if chance() < 0.2:
            fields[pick(["token", "version", "x"])] = self._text()
        data = "&".join(f"{key}={quote(value)}" for key, value in fields.items()).encode()
        return self._damaged(data) if chance() < 0.2 else data

    def _valid(self, path: str) -> dict[str, object]:
        """What Label Studio sends to a route, with keys that older versions and attackers send."""
        pick = self.random.choice
        task = {
            "id": pick([1, 2, 9]),
            "data": {"image": "/data/upload/7/a.png"},
            "project": PROJECT,
        }
        bodies: dict[str, dict[str, object]] = {
            "/setup": {**setup_body(), "model_version": pick(["", "taudis-0001-a", *self.paths])},
            "/predict": {
                "tasks": [task] * pick([1, 1, 3]), "project": f"{PROJECT}.1700000000",
                "label_config": CONFIG, "params": {"context": {"result": []}, "login": None},
                "model_version": pick(["taudis-0001-a", *self.paths]), "try_fetch": True,
            },
            "/webhook": {
                "action": pick(["ANNOTATION_CREATED", "START_TRAINING", "PROJECT_UPDATED", "X"]),
                "project": {"id": PROJECT, "title": "A"}, "annotation": {"id": 1, "result": []},
                "task": task,
            },
            "/versions": {"project": PROJECT},
        }  # fmt: skip
        return bodies.get(path, {"project": PROJECT})

    def _mutated(self, value: object) -> object:
        """A copy in which values are others, keys are missing or many, and lists are long."""
        chance, pick = self.random.random(), self.random.choice
        if chance < 0.12:
            return pick(self.values)
        if isinstance(value, dict):
            copy = {k: self._mutated(v) for k, v in value.items() if self.random.random() > 0.05}
            if self.random.random() < 0.1:
                copy[pick(["id", "project", "__class__", "$ref", "", self._text()])] = pick(
                    self.values
                )
            return copy
        if isinstance(value, list):
            return [self._mutated(each) for each in value] * pick([1, 1, 1, 0, 50])
        return value

    def _deep(self) -> bytes:
        depth = self.random.choice([10, 59, 61, 500, 4_000])
        opening, closing = self.random.choice([("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
        inner = opening * depth + "1" + closing * depth
        return self.random.choice([inner, f'{{"project": 7, "tasks": {inner}}}']).encode()[
            : self.limit
        ]

    def _large(self) -> bytes:
        size = self.random.choice([self.limit - 1, self.limit, self.limit + 1, 2 * self.limit])
        return b'{"project": 7, "x": "' + b"y" * (size - 23) + b'"}'

    def _damaged(self, data: bytes) -> bytes:
        """Bytes changed, cut, doubled, or not UTF-8."""
        kind, changed = self.random.randrange(6), bytearray(data)
        at = self.random.randrange(len(data)) if data else 0
        if kind == 0 and data:
            changed[at] = self.random.randrange(256)
        elif kind == 1:
            changed = changed[:at]
        elif kind == 2:
            changed += data
        elif kind == 3:
            changed[at:at] = self.random.randbytes(4)
        elif kind == 4:
            changed = (
                bytearray(self.random.choice([b"\xff\xfe", b"\xef\xbb\xbf", b"\x00"])) + changed
            )
        else:
            changed = bytearray(data.decode("utf-8", "replace").encode("utf-16"))
        return bytes(changed)


def broken_http(seed: int) -> Iterator[bytes]:
    """Bytes that are almost a request of HTTP/1.1, without end."""
    random = Random(seed)
    pick, requests = random.choice, Malformed(seed, planted="x", limit=2_000)
    lengths = [
        "Content-Length: -1", "Content-Length: x", f"Content-Length: {10**20}", "Content-Length: 9",
        "Content-Length: 5\r\nContent-Length: 6", "Transfer-Encoding: chunked", "X: y", "no colon",
        "Transfer-Encoding: gzip", "Transfer-Encoding: chunked\r\nContent-Length: 4",
    ]  # fmt: skip
    bodies = [b"5\r\nhello\r\n0\r\n\r\n", b"zz\r\nhello\r\n", b"-1\r\n", b"5;x\r\nhel", b"{}", b""]
    for request in requests:
        head, _, body = as_bytes(request).partition(b"\r\n\r\n")
        kind = random.randrange(6)
        if kind == 0:
            damaged = bytearray(head)
            for _ in range(random.randrange(1, 4)):
                damaged[random.randrange(len(damaged))] = random.randrange(256)
            yield bytes(damaged) + b"\r\n\r\n" + body
        elif kind == 1:
            yield head[: random.randrange(len(head))]
        elif kind == 2:
            yield (
                head.replace(b"HTTP/1.1", pick([b"HTTP/1.0", b"HTTP/9", b"", b"x y"])) + b"\r\n\r\n"
            )
        elif kind == 3:
            yield head.replace(b"\r\n", b"\n") + pick([b"\n\n", b"\r\n\r\n"]) + body
        elif kind == 4:
            yield random.randbytes(random.randrange(1, 400)) + b"\r\n\r\n"
        else:
            length = f"Content-Length: {len(request.body)}".encode()
            yield head.replace(length, pick(lengths).encode()) + b"\r\n\r\n" + pick(bodies)


def as_bytes(request: Request) -> bytes:
    """The request in the form of HTTP/1.1."""
    headers = {"Host": "127.0.0.1", "Content-Length": str(len(request.body)), **request.headers}
    lines = [f"{request.method} {request.target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + request.body
