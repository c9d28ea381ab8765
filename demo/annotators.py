"""The simulated annotators of a demonstration as one group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from demo.annotator import Annotator
from demo.errors import DemoError
from demo.pre_annotations import PreAnnotation
from demo.records import Done, Served


@dataclass(frozen=True)
class Annotators:
    """Annotators who label the same project at the same time."""

    members: Sequence[Annotator]

    def start(self) -> None:
        """Start every annotator's thread."""
        for member in self.members:
            member.start()

    def stop(self) -> None:
        """Let every annotator submit the current task, and end the threads."""
        for member in self.members:
            member.stop()

    def ask_once(self) -> None:
        """Record the task that Label Studio serves each annotator now. Use after `stop`."""
        for member in self.members:
            member.ask_once()

    def set_pace(self, pause: float, *, paused: bool) -> None:
        """Set the seconds for a task, and whether the annotators ask for tasks at all."""
        for member in self.members:
            member.pause = pause
            (member.paused.set if paused else member.paused.clear)()

    def check(self) -> None:
        """Raise DemoError if an annotator has given up."""
        for member in self.members:
            if member.failure:
                raise DemoError(f"Annotator {member.name} gave up: {member.failure}")

    @property
    def served(self) -> list[Served]:
        """Every task that Label Studio served."""
        return [one for member in self.members for one in member.served]

    @property
    def done(self) -> list[Done]:
        """Every submit and skip."""
        return [act for member in self.members for act in member.done]

    @property
    def seen(self) -> list[PreAnnotation]:
        """The pre-annotations of all served tasks, compared with the truth."""
        return [one for member in self.members for one in member.seen]

    @property
    def labelled(self) -> set[int]:
        """Ids of the submitted tasks."""
        return {act.task for act in self.done if not act.skipped}

    @property
    def idle(self) -> bool:
        """Whether Label Studio has no task for any of them.

        A skip makes a task free for the others, so a request before it proves nothing.
        """
        last = max((act.answered for act in self.done), default=0.0)
        asked = [member.found_none for member in self.members]
        return all(found is not None and found >= last for found in asked)

    def in_words(self) -> str:
        """How many tasks each annotator has submitted or skipped."""
        return ", ".join(f"{member.name} {len(member.done)}" for member in self.members)
