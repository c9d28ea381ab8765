"""Who may call: legacy tokens, personal access tokens, and the short-lived ones made from these."""

import base64
import json
import secrets
import time

from tests.fake_label_studio.answers import Refused
from tests.fake_label_studio.records import User

SESSION = "Session"
"""Stands for the session of the administrator's browser, which no setting of tokens ends."""


def _jwt(claims):
    """A token of three parts, as a JSON Web Token has them. Nothing is signed here."""

    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none'})}.{part(claims)}.c2ln"


class Access:
    """Tokens of all users. `legacy` says whether `Authorization: Token` is allowed."""

    def __init__(self, records):
        self.records = records
        self.legacy = True
        self.access_seconds = 300.0
        self.session = secrets.token_hex(16)
        self._access = {}  # access token -> (user, end of its life, monotonic seconds)

    def add_user(self, email, token=""):
        number = self.records.number("user")
        user = User(number, email, token or f"{number:040x}")
        self.records.users[number] = user
        return user

    def personal_token(self, user):
        """The user's personal access token, made once."""
        if not user.personal:
            user.personal = _jwt({"token_type": "refresh", "user": user.id, "iat": 0, "exp": 1e10})
        return user.personal

    def revoke(self, user):
        """Take the personal token back, with all that was made from it."""
        user.personal = ""
        self.expire()

    def expire(self):
        """End the life of every access token, as a restart of Label Studio's server may."""
        self._access.clear()

    def refresh(self, personal):
        """A new access token."""
        user = next((u for u in self.records.users.values() if u.personal == personal), None)
        if user is None or not personal:
            raise Refused(401, "Token is invalid")
        now, number = int(time.time()), self.records.number("access")
        claims = {"token_type": "access", "iat": now, "exp": now + self.access_seconds, "n": number}
        made = _jwt(claims)
        self._access[made] = (user, time.monotonic() + self.access_seconds)
        return made

    def user_of(self, header):
        """The user of an Authorization header."""
        kind, _, token = header.partition(" ")
        if kind == SESSION and token == self.session:
            return self.records.users[1]
        if kind == "Token":
            user = next((u for u in self.records.users.values() if u.token == token), None)
            if user is None or not self.legacy:
                raise Refused(401, "Invalid token." if user is None else LEGACY_OFF)
            return user
        user, end = self._access.get(token, (None, 0.0))
        if kind != "Bearer" or user is None or time.monotonic() > end:
            raise Refused(401, "Authentication credentials were not provided.")
        return user


LEGACY_OFF = (
    "Authentication token no longer valid: legacy token authentication has been disabled for this"
    " organization"
)
