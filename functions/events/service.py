"""The events of a run, made of what its journal says.

A step has two events: its begin has the id 2n - 1, its end 2n, n being its number; the end of the
run has the id 2n + 1, n being its last step's. So the ids of a run only grow, and whoever saw one
has seen all before it.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from functions.events.models import Run, Step
from mini_agent.data import db
from mini_agent.errors import ExecutionNotFound
from mini_agent.identity.callers import Caller
from mini_agent.settings import settings

OVER = {"completed", "failed", "cancelled"}
PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds between two looks; the last goes on. Each look is one round trip."""


@dataclass(frozen=True, slots=True)
class Event:
    """A server-sent event."""

    id: int
    name: str
    data: dict[str, Any]

    def encode(self) -> str:
        """Return it as text/event-stream has it."""
        return f"id: {self.id}\nevent: {self.name}\ndata: {json.dumps(self.data)}\n\n"


def follow(caller: Caller, execution_id: UUID, last_id: int) -> list[Event] | None:
    """Return the events after an id as soon as there are any, or none after a while.

    None if the run is over and all its events have been seen. Raises ExecutionNotFound.
    """
    end = time.monotonic() + settings().follow_seconds
    looks = 0
    while True:
        run, steps = _look(caller, execution_id, last_id)
        events = [event for event in _events(run, steps) if event.id > last_id]
        if events:
            return events
        if run.status in OVER:
            return None
        pause = PAUSES[min(looks, len(PAUSES) - 1)]
        if time.monotonic() + pause > end:
            return []
        time.sleep(pause)
        looks += 1


def _look(caller: Caller, execution_id: UUID, last_id: int) -> tuple[Run, list[Step]]:
    found, steps = db.read(
        caller,
        db.Query("events/run", {"id": execution_id}, Run),
        db.Query("events/steps", {"id": execution_id, "since": (last_id + 1) // 2}, Step),
    )
    if not found:
        raise ExecutionNotFound(execution_id=execution_id)
    return found[0], steps


def _events(run: Run, steps: list[Step]) -> Iterator[Event]:
    for step in steps:
        told = step.model_dump(mode="json", include={"number", "kind", "tool", "arguments"})
        if step.kind == "approval":
            told["expires_at"] = step.model_dump(mode="json")["expires_at"]
        yield Event(2 * step.number - 1, "step_started", told)
        if step.status not in {"running", "waiting"}:
            ended = step.model_dump(mode="json", include={"number", "kind", "tool", "status"})
            result = {"decision": step.decision} if step.kind == "approval" else step.result
            yield Event(2 * step.number, "step_finished", ended | {"result": result})
    if run.status in OVER:
        yield Event(2 * run.steps + 1, "run_finished", run.model_dump(mode="json"))
