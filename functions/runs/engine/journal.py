"""A run's journal: each step is in Postgres before its call goes out, and again when it finishes.

The journal alone says how far a run is. Whoever claims a run reads it and continues behind the last
finished step. The attempt number fences: once another attempt has claimed the run, or it was
cancelled, no step begins any more (`docs/decisions/0013-a-runs-journal.md`).
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Self

from psycopg.types.json import Jsonb

from functions.runs.definitions import RunLimits
from functions.runs.engine import budgets
from functions.runs.engine.budgets import UsageBound
from functions.runs.engine.records import (
    ClaimedRun,
    FinishedRun,
    FinishedStep,
    NewRun,
    RunAdmission,
    RunState,
    StartedStep,
    Step,
)
from mini_agent.data import db
from mini_agent.errors import TooManyRuns
from mini_agent.executions import StopReason
from mini_agent.identity.callers import Caller, RunCaller

LEASE_SECONDS = 90
"""How long a step may take beyond its call before another owner may claim the run."""
MAX_QUEUE_SECONDS = 3600
"""How long a run may be queued before the sweep ends it."""

CREATE_DEFAULTS: dict[str, Any] = {
    "own_key": None,
    "may_create": False,
    "checked": None,
    "warning": None,
    "reserved_tokens": 0,
    "reserved_usd": 0,
}
UNSTORABLE = re.compile(r"\\u0000|\\ud[89a-f]|NaN|Infinity")


class LeaseLost(Exception):
    """The run is over, cancelled, or another attempt's: whoever works on it must stop at once."""


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """How a step ended, and what it used."""

    status: str
    result: Any
    response: Mapping[str, Any] | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal = Decimal(0)

    def parameters(self, number: int | None) -> dict[str, Any]:
        """Return the parameters of `runs/finish_step`, and of `runs/end` for a last step."""
        return {
            "number": number,
            "step_status": self.status,
            "result": _jsonb(self.result),
            "step_response": _jsonb(self.response),
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost_usd": self.cost_usd,
        }


def step_parameters(
    number: int,
    kind: str,
    *,
    seconds: float,
    tool: str | None = None,
    arguments: Any = None,
    bound: UsageBound | None = None,
) -> dict[str, Any]:
    """Return the parameters of `runs/start_step`, without the run and its attempt."""
    return {
        "number": number,
        "kind": kind,
        "tool": storable(tool),
        "arguments": _jsonb(arguments),
        "lease": seconds + LEASE_SECONDS,
        "reserved_tokens": bound.tokens if bound else 0,
        "reserved_usd": bound.usd if bound else 0,
    }


def create(
    caller: Caller, run: NewRun, *, own_key: str | None, may_create: bool
) -> RunAdmission | None:
    """Create a run, or return what its caller must check first; None without such an agent.

    The run is created if `may_create`, and if the tenant has no limits on runs and no secret
    `own_key`. Its first step, unless it is queued, is written with it and reserves nothing.
    """
    rows = _create(caller, run, {"own_key": own_key, "may_create": may_create}, None)
    return rows[0] if rows else None


def create_checked(
    caller: Caller, run: NewRun, checked: RunAdmission, first_call: UsageBound
) -> RunAdmission:
    """Create a run whose caller has checked what `create` returned; raises TooManyRuns.

    The first step of a run that is not queued reserves the most that its call may use.
    """
    parameters = {
        "checked": _jsonb(checked.definition.model_dump(mode="json")),
        "warning": checked.warning,
        "reserved_tokens": first_call.tokens,
        "reserved_usd": first_call.usd,
    }
    [created] = _create(caller, run, parameters, checked.concurrent_runs)
    return created


def _create(
    caller: Caller, run: NewRun, parameters: Mapping[str, Any], concurrent_runs: int | None
) -> list[RunAdmission]:
    caps = run.limits
    wait = MAX_QUEUE_SECONDS if run.is_queued else caps.timeout_seconds + LEASE_SECONDS
    row = run.model_dump(exclude={"limits"})
    row |= {"limits": _jsonb(caps.model_dump(mode="json")), "lease": wait}
    query = db.Query("runs/create", {**CREATE_DEFAULTS, **row, **parameters}, RunAdmission)
    refusals = {"executions_concurrent_runs": TooManyRuns(limit=concurrent_runs)}
    return db.write_repeatable(caller, query, refusals)


class Journal:
    """The journal of one run, written by one attempt."""

    def __init__(self, caller: RunCaller, run: ClaimedRun) -> None:
        self.caller, self.run = caller, run
        self._fence = {"id": run.id, "attempt": run.attempt}
        self._first_step: StartedStep | None = None
        self._final_step: tuple[int, StepOutcome] | None = None
        self._reserved_steps: set[int] = set()

    @classmethod
    def of_new(cls, caller: Caller, run: NewRun, creation: RunAdmission) -> Self:
        """Return the journal of a run that was just created.

        Unless the run is queued, its first step is in Postgres already, so that the first `begin`
        costs nothing.
        """
        claimed = ClaimedRun(
            id=run.id,
            agent_id=run.agent_id,
            agent_name=creation.definition.name,
            model=run.model,
            prompt=run.prompt,
            definition=creation.definition,
            limits=run.limits,
            background=run.is_queued,
            attempt=0 if run.is_queued else 1,
            seconds_left=run.limits.timeout_seconds,
        )
        journal = cls(RunCaller(caller.tenant_id, run.id), claimed)
        if not run.is_queued:
            journal._first_step = StartedStep(
                number=1, **creation.model_dump(include=set(StartedStep.model_fields))
            )
        return journal

    @classmethod
    def claim(cls, caller: RunCaller, owner: str) -> Self | None:
        """Return the journal of a run that is the owner's from now on.

        None if the run is over, or another owner holds its lease. An owner that comes back claims
        its run at once.
        """
        claim = {"id": caller.execution_id, "owner": owner, "lease": LEASE_SECONDS}
        rows = db.write(caller, db.Query("runs/claim", claim, ClaimedRun))
        return cls(caller, rows[0]) if rows else None

    def steps(self) -> list[Step]:
        """Return the steps of earlier attempts, in order."""
        if self._first_step:
            return []
        return db.read(self.caller, db.Query("runs/list_steps", {"id": self.run.id}, Step))

    def begin(
        self,
        number: int,
        kind: str,
        *,
        seconds: float,
        tool: str | None = None,
        arguments: Any = None,
        bound: UsageBound | None = None,
    ) -> StartedStep:
        """Write a step whose call may take so long and use so much; raises LeaseLost.

        A step that an earlier attempt began and did not finish becomes this attempt's.
        """
        if self._first_step and self._first_step.number == number:
            return self._first_step
        step = step_parameters(
            number, kind, seconds=seconds, tool=tool, arguments=arguments, bound=bound
        )
        started: StartedStep = self._write("runs/start_step", step, StartedStep)
        return started

    def reserve(self, step: StartedStep, bound: UsageBound, seconds: float) -> int:
        """Reserve the most that a step may use until it finishes; return its output tokens.

        Raises BudgetRefused, BudgetUnavailable.
        """
        if not (step.has_budget and bound.price):
            return bound.output_tokens
        self._reserved_steps.add(step.number)
        return budgets.reserve(self.caller, step, bound, seconds)

    def finish(self, number: int, outcome: StepOutcome) -> None:
        """Write a step's outcome; raises LeaseLost if the run is over by now."""
        try:
            step = self._write("runs/finish_step", outcome.parameters(number), FinishedStep)
        except LeaseLost:
            self._settle(number, outcome, None)
            raise
        self._settle(number, outcome, step.finished_at)
        if step.status != "running":
            raise LeaseLost

    def finish_with_run(self, number: int, outcome: StepOutcome) -> None:
        """Keep the outcome of the last step, which `end` writes with the run's."""
        self._final_step = number, outcome

    def end(self, status: str, stop_reason: StopReason, response: str | None = None) -> RunState:
        """End the run, and with it its last step; return the run's state.

        Changes nothing if the run is over already, or another attempt's.
        """
        outcome = {"status": status, "stop_reason": stop_reason, "response": storable(response)}
        number, step = self._final_step or (None, StepOutcome("failed", None))
        parameters = self._fence | step.parameters(number) | outcome
        ended = db.write_repeatable(self.caller, db.Query("runs/end", parameters, FinishedRun))
        if number:
            self._settle(number, step, ended[0].finished_at if ended else None)
        return self._state(ended[0], **outcome) if ended else self.state()

    def _state(self, end: FinishedRun, **outcome: Any) -> RunState:
        run = self.run
        took = end.finished_at - end.created_at
        return RunState(
            id=run.id,
            agent_id=run.agent_id,
            agent_name=run.agent_name,
            model=run.model,
            prompt=run.prompt,
            definition=run.definition,
            background=run.background,
            duration_ms=round(took.total_seconds() * 1000),
            **end.model_dump(),
            **outcome,
        )

    def state(self) -> RunState:
        """Return the run's current state."""
        [state] = db.read(self.caller, db.Query("runs/get", {"id": self.run.id}, RunState))
        return state

    def await_approval(
        self, number: int, *, tool: str, arguments: Any, callback: str, seconds: int
    ) -> None:
        """Write that the run waits, and the callback that wakes it; raises LeaseLost."""
        approval = {
            "number": number,
            "tool": tool,
            "arguments": _jsonb(arguments),
            "callback": callback,
            "seconds": seconds,
            "lease": LEASE_SECONDS,
        }
        self._write("runs/await_approval", approval, dict[str, Any])

    def hand_over(self, limits: RunLimits) -> None:
        """Queue the run for a worker, with the caps of the background; raises LeaseLost."""
        caps = Jsonb(limits.model_dump(mode="json"))
        self._write(
            "runs/hand_over", {"limits": caps, "ends_in": MAX_QUEUE_SECONDS}, dict[str, Any]
        )

    def abandon(self) -> None:
        """End the run unless a worker has claimed it: no worker could be started."""
        db.write(self.caller, db.Query("runs/abandon", {"id": self.run.id}, dict[str, Any]))

    def _write(self, query: str, parameters: Mapping[str, Any], row: type[Any]) -> Any:
        rows = db.write(self.caller, db.Query(query, {**self._fence, **parameters}, row))
        if not rows:
            raise LeaseLost
        return rows[0]

    def _settle(self, number: int, outcome: StepOutcome, finished_at: datetime | None) -> None:
        """Settle a step's reservation; `finished_at` is None if another attempt may have it."""
        if number not in self._reserved_steps:
            return
        self._reserved_steps.remove(number)
        if finished_at is None:
            budgets.drop_ledger(self.caller)
            return
        tokens = outcome.input_tokens + outcome.output_tokens
        budgets.settle(self.caller, number, finished_at, tokens, outcome.cost_usd)


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


def _jsonb(value: Any) -> Jsonb | None:
    if value is None:
        return None
    text = json.dumps(value)
    if UNSTORABLE.search(text):
        text = json.dumps(storable(value))
    return Jsonb(value, dumps=lambda _: text)
