"""The rules of a run."""

import time
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from functions.runs import background
from functions.runs.engine import budgets, journal
from functions.runs.engine.journal import LEASE_SECONDS, PATIENCE_SECONDS, Journal, LeaseLost
from functions.runs.engine.loop import Approvals, Loop, most_tokens, opening
from functions.runs.llm import catalogue, credentials
from functions.runs.llm.messages import Model, ToolCall
from functions.runs.models import (
    AgentToRun,
    BudgetRefusal,
    ClaimedRun,
    Execution,
    ModelList,
    ModelOffered,
    QueuedRun,
    Run,
    RunIn,
    RunSlot,
    RunStatus,
    StartedStep,
    TenantLimits,
    Usage,
)
from functions.runs.tools import invocation
from mini_agent.data import db
from mini_agent.errors import (
    ApiError,
    BudgetExceeded,
    DeadlineExceeded,
    IdempotencyKeyInUse,
    InvalidApiKey,
    ModelProviderFailed,
    RateLimitExceeded,
    ServiceUnavailable,
    TenantIsolationViolation,
    TooManyRuns,
    UnsupportedModel,
)
from mini_agent.executions import PROVIDER_STOP_REASONS
from mini_agent.http import idempotency, rate_limit
from mini_agent.identity.callers import Caller, RunCaller
from mini_agent.telemetry import count

NO_TOOLS = "This agent has no tools; it answered from the model alone"
DESCRIBED_ONLY = "The model is told of these tools, but cannot call them without an endpoint: "
MOST_CRASHES = 3
"""So many attempts in a row that finish no step, and a run is given up."""
REPLAY_SECONDS = 20.0
"""How long a request waits for the run that an earlier one with its key has begun."""
REPLAY_PAUSE_SECONDS = 0.1


def models() -> ModelList:
    """Return the models on offer."""
    return ModelList(
        items=[
            ModelOffered(
                name=name,
                provider=entry.provider,
                context_tokens=entry.context_tokens,
                input_usd_per_million=float(entry.input),
                output_usd_per_million=float(entry.output),
            )
            for name, entry in catalogue.load().items()
        ]
    )


@dataclass(frozen=True, slots=True)
class ReplayedRun:
    """A run that an earlier request began, with the same `Idempotency-Key`."""

    run: Run | QueuedRun


def run(
    caller: Caller,
    agent_id: UUID,
    asked: RunIn,
    *,
    in_background: bool,
    key: idempotency.IdempotencyKey | None = None,
) -> Run | QueuedRun | ReplayedRun:
    """Run an agent and return the run: over, or queued where nobody waits or a person must approve.

    Raises UnsupportedModel, TenantIsolationViolation for an agent that is not the tenant's,
    RateLimitExceeded, TooManyRuns and BudgetExceeded where the tenant's limits refuse it,
    ModelProviderFailed, DeadlineExceeded, ServiceUnavailable where the background or Redis is away,
    and, with a key, IdempotencyKeyReused and IdempotencyKeyInUse.
    """
    supported = catalogue.load()
    if asked.model not in supported:
        raise UnsupportedModel(model=asked.model, supported_models=list(supported))
    found, [limits] = db.read(
        caller,
        db.Query("runs/agent", {"agent_id": agent_id}, AgentToRun),
        db.Query("runs/limits", {}, TenantLimits),
    )
    if not found:
        raise TenantIsolationViolation(resource_type="agent", resource_id=agent_id)
    agent, model, most = found[0], None, budgets.UsageBound()
    if limits.are_there or not in_background:
        model = credentials.model(caller, agent, asked.model)
        opened = opening(agent, asked.prompt)
        most = budgets.most(model, supported[asked.model], opened, most_tokens(asked.max_tokens))
    try:
        _admit(caller, limits, most)
    except (RateLimitExceeded, BudgetExceeded):
        # Whoever sends a run again asks for no other one.
        if key and (stored := idempotency.find(caller, key)):
            return _again(caller, _begun(stored))
        raise
    started = _start(caller, agent, asked, limits, most, key, in_background=in_background)
    if isinstance(started, UUID):
        return _again(caller, started)
    try:
        if model and started.begun:
            return told(started.caller, started.finish(model, started.begun))
    except RunHandedOver:
        pass
    try:
        background.start(started.caller)
    except ServiceUnavailable:
        db.write(started.caller, db.Query("runs/abandon", {"id": started.taken.id}, RunStatus))
        raise
    return started.queued()


def _admit(caller: Caller, limits: TenantLimits, most: budgets.UsageBound) -> None:
    """Raise RateLimitExceeded or BudgetExceeded where a run is refused before it is one."""
    if limits.runs_per_minute is not None:
        rate_limit.admit_run(caller, limits.runs_per_minute)
    try:
        budgets.peek(caller, limits, most)
    except budgets.BudgetRefused as refused:
        raise BudgetExceeded(**refused.details) from refused


def _again(caller: Caller, execution_id: UUID) -> ReplayedRun:
    """Return the run that an earlier request began, when that is answered; raises as `run` does."""
    end = time.monotonic() + REPLAY_SECONDS
    while True:
        [execution] = db.read(caller, db.Query("runs/get", {"id": execution_id}, Execution))
        if execution.background:
            return ReplayedRun(_queued(execution))
        if execution.finished_at:
            try:
                return ReplayedRun(told(caller, execution))
            except ApiError as error:
                error.headers |= idempotency.REPLAYED
                raise
        if time.monotonic() > end:
            raise IdempotencyKeyInUse
        time.sleep(REPLAY_PAUSE_SECONDS)


class RunHandedOver(Exception):
    """The run waits for a person, whom nobody who waits for an answer waits for."""


class HandOverToBackground:
    """Approvals of a run whose caller waits: it goes on in the background."""

    def __init__(self, asked: RunIn) -> None:
        self._limits = asked.limits(background=True)

    def wait(self, journal: Journal, number: int, call: ToolCall, seconds: int) -> NoReturn:
        """Hand the run over."""
        del number, call, seconds
        journal.hand_over(self._limits)
        raise RunHandedOver

    def passed(self, number: int) -> None:
        """Nothing to note: no decision was ever there."""


@dataclass(frozen=True, slots=True)
class StartedRun:
    """A run that is written down."""

    caller: RunCaller
    asked: RunIn
    warning: str | None
    taken: ClaimedRun
    begun: StartedStep | None
    """The first step, where the caller waits."""

    def finish(self, model: Model, begun: StartedStep) -> Execution:
        """Take the run to its end; raises HandedOver."""
        journal = Journal(self.caller, self.taken)
        return conclude(journal, model, HandOverToBackground(self.asked), begun)

    def queued(self) -> QueuedRun:
        """Return what is told of a run in the background."""
        return _queued(self.taken, warning=self.warning)


def _queued(run: ClaimedRun | Execution, warning: str | None = None) -> QueuedRun:
    return QueuedRun(
        execution_id=run.id,
        agent_id=run.agent_id,
        agent_name=run.agent_name,
        model=run.model,
        warning=run.warning if isinstance(run, Execution) else warning,
    )


def _start(
    caller: Caller,
    agent: AgentToRun,
    asked: RunIn,
    tenant: TenantLimits,
    most: budgets.UsageBound,
    key: idempotency.IdempotencyKey | None,
    *,
    in_background: bool,
) -> StartedRun | UUID:
    """Write a new run down, or return the id of the one that the key has begun before.

    Raises TooManyRuns.
    """
    limits = asked.limits(background=in_background)
    row: dict[str, Any] = {
        "id": uuid4(),
        "agent_id": agent.id,
        "agent_name": agent.name,
        "model": asked.model,
        "prompt": asked.prompt,
        "background": in_background,
        "definition": agent.model_dump(mode="json"),
        "limits": limits,
    }
    warning = _warning(agent)
    told = {
        "warning": warning,
        "owner": f"request {row['id']}",
        "seconds": limits["timeout_seconds"],
        "lease": limits["timeout_seconds"] + LEASE_SECONDS,
        "patience": PATIENCE_SECONDS
        if in_background
        else limits["timeout_seconds"] + LEASE_SECONDS,
        "definition": Jsonb(row["definition"]),
        "limits": Jsonb(limits),
    }
    statements: list[db.Query[Any]] = [db.Query("runs/start", row | told, journal.CreatedAt)]
    if not in_background:
        first = journal.beginning(1, "model", None, None, limits["timeout_seconds"], most)
        first |= {"id": row["id"], "attempt": 1}
        statements.append(db.Query("runs/begin_step", first, StartedStep))
    if tenant.concurrent_runs is not None:
        statements.insert(0, db.Query("runs/make_room", {"most": tenant.concurrent_runs}, RunSlot))
    refusals = {"executions_have_room": TooManyRuns(limit=tenant.concurrent_runs)}
    if key is None:
        rows = db.write(caller, *statements, refusals=refusals)
    else:
        with db.Transaction() as transaction:
            if stored := idempotency.claim(caller, key, row["id"]):
                return _begun(stored)
            for statement in statements[:-1]:
                db.write(caller, statement, refusals=refusals)
            rows = transaction.commit(caller, statements[-1])
    fresh = {"attempt": 1, "crashes": 0, "input_tokens": 0, "output_tokens": 0, "cost_usd": 0}
    taken = ClaimedRun(**row, **fresh, steps=0, seconds_left=limits["timeout_seconds"])
    begun = None if in_background else rows[0]
    return StartedRun(RunCaller(caller.tenant_id, taken.id), asked, warning, taken, begun)


def _begun(stored: idempotency.StoredResponse) -> UUID:
    if stored.execution_id is None:
        raise RuntimeError("a run's key has no run")
    return stored.execution_id


def _warning(agent: AgentToRun) -> str | None:
    if not agent.tools:
        return NO_TOOLS
    described = [tool.name for tool in agent.tools if tool.endpoint is None]
    return DESCRIBED_ONLY + ", ".join(described) if described else None


def work(run: RunCaller, owner: str, approvals: Approvals) -> Execution | None:
    """Work on a run in the background until it is over, and return it.

    None if it is not the owner's to have, or its tenant was suspended: the sweep ends it then.
    Raises what `approvals` raise.
    """
    try:
        journal = Journal.take(run, owner)
        if journal is None:
            return None
        if journal.run.crashes > MOST_CRASHES:
            count("RunsCrashed")
            return journal.end("failed", "crashed", None)
        model = credentials.model(run, journal.run.definition, journal.run.model)
        return conclude(journal, model, approvals)
    except InvalidApiKey:
        return None


def conclude(
    journal: Journal, model: Model, approvals: Approvals, begun: StartedStep | None = None
) -> Execution:
    """Take a run that is ours to its end and return it; raises what `approvals` raise.

    Of a new run the first step is `begun`, and there is no other.
    """
    loop = Loop(
        journal,
        [] if begun else journal.steps(),
        model,
        catalogue.load()[journal.run.model],
        partial(invocation.call, journal.caller),
        approvals,
        begun=begun,
    )
    try:
        end = loop.carry_on()
    except LeaseLost:
        return journal.execution()
    execution = journal.end(end.status, end.stop_reason, end.response, loop.last)
    count("RunsCompleted" if execution.status == "completed" else "RunsNotCompleted")
    return execution


def told(caller: Caller | RunCaller, execution: Execution) -> Run:
    """Return a run that is over as its caller is told of it.

    Raises ModelProviderFailed, DeadlineExceeded, BudgetExceeded or ServiceUnavailable where that
    ended it.
    """
    if execution.stop_reason == "budget_exceeded":
        [refusal] = db.read(caller, db.Query("runs/refusal", {"id": execution.id}, BudgetRefusal))
        details = {name: value for name, value in refusal.result.items() if name != "reason"}
        raise BudgetExceeded(**details, execution_id=execution.id)
    if execution.stop_reason == "budget_unavailable":
        raise ServiceUnavailable(reason="budget", execution_id=execution.id)
    if execution.stop_reason in PROVIDER_STOP_REASONS:
        raise ModelProviderFailed(execution_id=execution.id, reason=execution.stop_reason)
    if execution.stop_reason == "timeout":
        raise DeadlineExceeded(execution_id=execution.id)
    return Run(
        execution_id=execution.id,
        agent_id=execution.agent_id,
        agent_name=execution.agent_name,
        model=execution.model,
        prompt=execution.prompt,
        response=execution.response,
        tools_available=[tool.name for tool in execution.definition.tools],
        warning=execution.warning,
        executed_at=execution.created_at,
        status=execution.status,
        stop_reason=execution.stop_reason,
        usage=Usage(
            input_tokens=execution.input_tokens,
            output_tokens=execution.output_tokens,
            cost_usd=float(execution.cost_usd),
            steps=execution.steps,
        ),
    )
