"""A run's journal: every step is in Postgres before its call goes out, and again when it is done.

The journal alone says how far a run is. Whoever takes a run reads it, goes on behind the last
finished step, and is fenced by its attempt: as soon as another has taken the run, or it was
cancelled, no step begins any more.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from psycopg.types.json import Jsonb
from pydantic import BaseModel

from functions.runs.engine import budgets
from functions.runs.models import (
    ClaimedRun,
    Execution,
    FinishedStep,
    RunStatus,
    StartedStep,
    Step,
    StepNumber,
)
from mini_agent.data import db
from mini_agent.identity.callers import RunCaller

LEASE_SECONDS = 90
"""How long a step may go on without a sign of life, before another owner may take the run."""
PATIENCE_SECONDS = 3600
"""How long a queued run may wait to be taken, before the sweep ends it."""


class CreatedAt(BaseModel):
    """When a run began."""

    created_at: datetime


class LeaseLost(Exception):
    """The run is over, cancelled, or another attempt's: whoever worked on it stops, at once."""


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """How a step ended, and what it used."""

    status: str
    result: Any
    response: Mapping[str, Any] | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal = Decimal(0)

    def parameters(self, number: int) -> dict[str, Any]:
        """Return what `runs/finish_step` takes."""
        return {
            "number": number,
            "step_status": self.status,
            "result": _json(self.result),
            "response": _json(self.response),
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost_usd": self.cost_usd,
        }


def beginning(
    number: int,
    kind: str,
    tool: str | None,
    arguments: Any,
    seconds: float,
    most: budgets.UsageBound | None = None,
) -> dict[str, Any]:
    """Return what `runs/begin_step` takes besides the run and its attempt."""
    return {
        "number": number,
        "kind": kind,
        "tool": storable(tool),
        "arguments": _json(arguments),
        "lease": seconds + LEASE_SECONDS,
        "reserved_tokens": most.tokens if most else 0,
        "reserved_usd": most.usd if most else 0,
    }


class Journal:
    """The journal of one run, written by one attempt."""

    def __init__(self, caller: RunCaller, run: ClaimedRun) -> None:
        self.caller, self.run = caller, run
        self._reserved: set[int] = set()
        self._mine = {"id": run.id, "attempt": run.attempt}

    @classmethod
    def take(cls, caller: RunCaller, owner: str) -> "Journal | None":
        """Return the journal of a run that is the owner's from now on; None if it is not to have.

        An owner that comes back takes its run at once, another only when the lease is over.
        """
        taken = db.write(
            caller,
            db.Query(
                "runs/take",
                {"id": caller.execution_id, "owner": owner, "lease": LEASE_SECONDS},
                ClaimedRun,
            ),
        )
        return cls(caller, taken[0]) if taken else None

    def steps(self) -> list[Step]:
        """Return the steps so far, in order."""
        return db.read(self.caller, db.Query("runs/steps", {"id": self.run.id}, Step))

    def begin(
        self,
        number: int,
        kind: str,
        *,
        tool: str | None = None,
        arguments: Any = None,
        seconds: float,
        most: budgets.UsageBound | None = None,
    ) -> StartedStep:
        """Write a step down whose call may take so long, and use so much; raises NotOurs.

        One that was begun before and not finished is this attempt's from now on.
        """
        parameters = beginning(number, kind, tool, arguments, seconds, most)
        begun: StartedStep = self._expect("runs/begin_step", parameters, StartedStep)
        return begun

    def reserve(self, begun: StartedStep, most: budgets.UsageBound, seconds: float) -> int:
        """Hold what a step that is begun may use, till it is finished; return its output tokens.

        Raises budget.Refused, budget.Unavailable.
        """
        if begun.are_there and most.price:
            self._reserved.add(begun.number)
        return budgets.reserve(self.caller, begun, most, seconds)

    def finish(self, number: int, done: StepOutcome) -> None:
        """Write a step's end down; raises NotOurs if the run is over by now."""
        try:
            now = self._expect("runs/finish_step", done.parameters(number), FinishedStep)
        except LeaseLost:
            self._settle(number, done, None)
            raise
        self._settle(number, done, now.finished_at)
        if now.status != "running":
            raise LeaseLost

    def _settle(self, number: int, done: StepOutcome, finished_at: datetime | None) -> None:
        """Let the budgets know of a step's end; None where it may not be this attempt's."""
        if number not in self._reserved:
            return
        self._reserved.remove(number)
        if finished_at is None:
            budgets.forget(self.caller)
            return
        tokens = done.input_tokens + done.output_tokens
        budgets.settle(self.caller, number, finished_at, tokens, done.cost_usd)

    def await_approval(
        self, number: int, *, tool: str, arguments: Any, callback: str, seconds: int
    ) -> None:
        """Write down that the run waits, and who is to be called back; raises NotOurs."""
        self._expect(
            "runs/await_approval",
            {
                "number": number,
                "tool": tool,
                "arguments": _json(arguments),
                "callback": callback,
                "seconds": seconds,
                "lease": LEASE_SECONDS,
            },
            StepNumber,
        )

    def hand_over(self, limits: Mapping[str, Any]) -> None:
        """Queue the run for whoever takes it next, with new caps; raises NotOurs."""
        self._expect(
            "runs/hand_over", {"limits": Jsonb(limits), "patience": PATIENCE_SECONDS}, RunStatus
        )

    def end(
        self,
        status: str,
        stop_reason: str,
        response: str | None,
        last: tuple[int, StepOutcome] | None = None,
    ) -> Execution:
        """End the run, and with it its last step; return the run as it is then.

        It is unchanged if it was over already, or is another attempt's.
        """
        outcome = {"status": status, "stop_reason": stop_reason, "response": response}
        statements: list[db.Query[Any]] = [
            db.Query("runs/end", self._mine | storable(outcome), Execution)
        ]
        if last:
            number, done = last
            finishing = {**self._mine, **done.parameters(number)}
            statements.insert(0, db.Query("runs/finish_step", finishing, FinishedStep))
        ended = db.write(self.caller, *statements)
        if last:
            self._settle(*last, ended[0].finished_at if ended else None)
        return ended[0] if ended else self.execution()

    def execution(self) -> Execution:
        """Return the run as it is now."""
        [execution] = db.read(self.caller, db.Query("runs/get", {"id": self.run.id}, Execution))
        return execution

    def _expect(self, query: str, parameters: Mapping[str, Any], row: type[Any]) -> Any:
        rows = db.write(self.caller, db.Query(query, {**self._mine, **parameters}, row))
        if not rows:
            raise LeaseLost
        return rows[0]


def storable(value: Any) -> Any:
    """Return JSON without what Postgres cannot keep: NUL, half of a surrogate pair, NaN."""
    match value:
        case str():
            return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
        case float() if not math.isfinite(value):
            return str(value)
        case list():
            return [storable(item) for item in value]
        case dict():
            return {storable(name): storable(item) for name, item in value.items()}
    return value


def _json(value: Any) -> Jsonb | None:
    return None if value is None else Jsonb(storable(value))
