"""The events of a run, read from its steps; `GET .../events` waits for those that follow an id.

A step has two events: 2n - 1 when it starts and 2n when it finishes, n being its number. The run's
end is 2n + 1 after its last step. So ids only grow, and a client that saw one has seen all before.
"""

import time
from collections.abc import Iterator
from uuid import UUID

from functions.executions import service
from functions.executions.models import (
    RunEvent,
    RunFinishedEvent,
    Step,
    StepFinished,
    StepFinishedEvent,
    StepStarted,
    StepStartedEvent,
)
from mini_agent.executions import FINISHED_STATUSES, Execution
from mini_agent.identity.callers import Caller
from mini_agent.settings import settings

UNFINISHED = {"running", "waiting", "interrupted"}
POLL_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""The pauses between two reads, each of one round trip; the last one repeats."""


def follow(caller: Caller, execution_id: UUID, last_id: int) -> list[RunEvent] | None:
    """Return the events after an id once there are any; [] if there are none in follow_seconds.

    None if the run is over and all its events have been seen. Raises ExecutionNotFound.
    """
    end = time.monotonic() + settings().follow_seconds
    reads = 0
    while True:
        run, steps = service.get_with_steps(caller, execution_id, since=(last_id + 1) // 2)
        events = [event for event in _events(run, steps) if event.id > last_id]
        if events:
            return events
        if run.status in FINISHED_STATUSES:
            return None
        pause = POLL_SECONDS[min(reads, len(POLL_SECONDS) - 1)]
        if time.monotonic() + pause > end:
            return []
        time.sleep(pause)
        reads += 1


def _events(run: Execution, steps: list[Step]) -> Iterator[RunEvent]:
    for step in steps:
        fields = step.model_dump()
        yield StepStartedEvent(id=2 * step.number - 1, data=StepStarted(**fields))
        if step.status not in UNFINISHED:
            if step.kind == "approval":
                fields["result"] = {"decision": step.decision}
            yield StepFinishedEvent(id=2 * step.number, data=StepFinished(**fields))
    if run.status in FINISHED_STATUSES:
        yield RunFinishedEvent(id=2 * run.steps + 1, data=run)
