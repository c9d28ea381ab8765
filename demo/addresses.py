"""The demonstration's addresses and logins, which a person needs at any time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from demo.backend_process import BACKEND_USER
from demo.environment import Environment
from demo.studio import Login


@dataclass(frozen=True)
class Addresses:
    """The addresses of Label Studio's project and of the status page, with their logins."""

    project: str
    people: Sequence[Login]
    status_page: str
    password: str  # of the status page

    @classmethod
    def of(cls, environment: Environment) -> Addresses:
        """The addresses of a running environment."""
        studio, backend = environment.studio, environment.backend
        project = f"{studio.url}/projects/{environment.project}"
        return cls(project, environment.people, f"{backend.url}/", backend.password)

    def in_lines(self) -> str:
        """One line for each address and login."""
        people = (f"  log in as   {one.email}  password {one.password}" for one in self.people)
        return "\n".join((
            f"Label Studio  {self.project}",
            *people,
            f"Status page   {self.status_page}",
            f"  log in as   {BACKEND_USER}  password {self.password}",
        ))  # fmt: skip
