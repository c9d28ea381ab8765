"""Hostile image addresses from a seed: schemes, spellings of hosts, user info, paths, redirects.

The names stand for servers on loopback (see `lookup`): `studio.example` is Label Studio at
127.0.0.1, every other name under `example` is a stranger at 127.0.0.2.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from random import Random
from typing import Any
from urllib.parse import quote

STUDIO_NAME, FRIEND = "studio.example", "friend.example"
STRANGER_ADDRESS, STUDIO_ADDRESS = "127.0.0.2", "127.0.0.1"

SCHEMES = [
    "http", "http", "http", "https", "HTTP", "ftp", "file", "gopher", "ws", "jar:http", "view",
    "", "unix", "dict", "netdoc", "s3", "data",
]  # fmt: skip
HOSTS = [
    STUDIO_NAME, FRIEND, "evil.example", f"{STUDIO_NAME}.evil.example", f"evil-{STUDIO_NAME}",
    STUDIO_NAME.upper(), f"{STUDIO_NAME}.", "studio\u3002example", "st\u00fcdio.example",
    "studi\u03bf.example", "\u24e2tudio.example", "127.0.0.1", "127.0.0.2", "127.1", "2130706433",
    "0x7f000002", "0177.0.0.2", "localhost", "localhost.", "0.0.0.0", "[::1]", "[::]",
    "[::ffff:127.0.0.2]", "[fe80::1%25lo]", "[64:ff9b::7f00:2]", "169.254.169.254",
    "metadata.example", "10.0.0.1", "192.168.0.1", "100.64.0.1", "[fd00::1]", "224.0.0.1",
    "255.255.255.255", "", "a" * 70 + ".example", "..", "%31%32%37.0.0.2",
    "evil.example%00.studio.example",
]  # fmt: skip
USER_INFO = [
    "", "", "", "", "user@", "user:canary@", f"{STUDIO_NAME}@", f"{STUDIO_NAME}:80@", "@", "%40@",
]  # fmt: skip
PATHS = [
    "/data/upload/1/a.png", "/data/local-files/?d=../secret.png",
    "/data/local-files/?d=/etc/passwd", "/data/../api/users", "/data/%2e%2e/api/projects",
    "/api/current-user/token", "/api/users/?x=/data/", "/tasks/7/resolve/?fileuri=aGk=",
    "/projects/7/presign/?fileuri=aGk=", "/latest/meta-data/", "/etc/passwd",
    "/user/login?next=/data/", "/", "", "/a.png", "/r", "/data/%2f..%2fapi", "/data/..;/api",
    "\\data\\a.png", "/data/a.png#@evil.example", "/static/../admin/",
    "/data/a.png\r\nAuthorization: x", "/data/\x00",
]  # fmt: skip
BARE = [
    "/etc/passwd", "../../../etc/passwd", "~/secret.png", "secret.png", "./secret.png",
    "\\\\evil.example\\a", "//evil.example/a.png", "///evil.example/a.png",
    "/\\evil.example/a.png", "javascript:alert(1)", "about:blank", "http:evil.example/a.png",
    "http:/evil.example/a.png", "http:///evil.example", "http://", "://", "?", "#", "http",
]  # fmt: skip


class HostileAddresses:
    """Addresses without end. Of one seed always the same."""

    def __init__(self, seed: int, *, studio_port: int, stranger_port: int, secret: str) -> None:
        """`secret`: the path of a file that no address may reach."""
        self.random = Random(seed)
        self.ports = [
            "",
            f":{studio_port}",
            f":{studio_port}",
            f":{stranger_port}",
            f":{stranger_port}",
            ":22",
            ":",
            ":0",
            ":99999",
        ]
        self.bare = [
            *BARE,
            secret,
            f"file://{secret}",
            f"file://localhost{secret}",
            f"/data/local-files/?d={secret}",
        ]

    def _host(self) -> str:
        """A third of the hosts may be allowed by some setting."""
        often = self.random.random() < 0.33
        return self.random.choice([FRIEND, f"{STUDIO_NAME}.evil.example"] if often else HOSTS)

    def one(self, depth: int = 0) -> str:
        """The next address."""
        pick, chance = self.random.choice, self.random.random
        if chance() < 0.15:
            return pick(self.bare)
        path = pick(PATHS)
        if path == "/r" and depth < 3:  # the servers redirect there
            path = "/data/r?to=" + quote(self.one(depth + 1).encode("utf-8", "replace"), safe="")
        scheme = pick(SCHEMES)
        address = f"{scheme}://{pick(USER_INFO)}{self._host()}{pick(self.ports)}{path}"
        if chance() < 0.1:
            at = self.random.randrange(len(address))
            address = (
                address[:at]
                + pick(["\t", "\n", " ", "%", "\\", "@", "\u2028", "#", "?"])
                + address[at:]
            )
        return address


def lookup(real: Callable[..., Any]) -> Callable[..., Any]:
    """A stand-in for `socket.getaddrinfo`: names under `example` are on loopback, no others are."""

    def found(host: Any, *arguments: Any, **more: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else str(host)
        name = name.encode("idna").decode().lower().rstrip(".")
        if name == STUDIO_NAME:
            return real(STUDIO_ADDRESS, *arguments, **more)
        if name == "metadata.example":
            return real("169.254.169.254", *arguments, **more)
        if name.endswith(".example"):
            return real(STRANGER_ADDRESS, *arguments, **more)
        if name == "localhost" or set(name) <= set("0123456789abcdefx.:%lo"):
            return real(host, *arguments, **more)
        raise socket.gaierror(socket.EAI_NONAME, "no such name in the test")

    return found
