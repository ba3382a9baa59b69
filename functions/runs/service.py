"""Runs of agents: what a run must pass before it is created, and how its caller gets the result."""

import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from functions.runs import background
from functions.runs.engine import budgets, journal
from functions.runs.engine.approvals import Approvals, BackgroundHandOver, RunHandedOver
from functions.runs.engine.budgets import UsageBound
from functions.runs.engine.journal import Journal
from functions.runs.engine.loop import Loop, first_request, output_tokens
from functions.runs.engine.records import (
    ClaimedRun,
    NewRun,
    RunAdmission,
    RunState,
    TenantLimits,
)
from functions.runs.llm import catalogue, credentials
from functions.runs.llm.messages import Model
from functions.runs.models import ModelList, ModelOffer, QueuedRun, Run, RunCreate, Usage
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
    UnsupportedModel,
)
from mini_agent.executions import PROVIDER_STOP_REASONS
from mini_agent.http import idempotency, rate_limit
from mini_agent.identity.callers import Caller, RunCaller
from mini_agent.telemetry import count

MAX_CRASHES = 3
"""A run is given up after so many attempts in a row that finished no step."""
MAX_REPLAY_SECONDS = 20.0
"""How long a request waits for the run that an earlier one with its key created."""
REPLAY_POLL_SECONDS = 0.1


def models() -> ModelList:
    """Return the models on offer."""
    return ModelList(
        items=[
            ModelOffer(
                name=name,
                provider=entry.provider,
                context_tokens=entry.context_tokens,
                input_usd_per_million=float(entry.price.input),
                output_usd_per_million=float(entry.price.output),
            )
            for name, entry in catalogue.load().items()
        ]
    )


@dataclass(frozen=True, slots=True)
class ReplayedRun:
    """A run that an earlier request created, with the same `Idempotency-Key`."""

    run: Run | QueuedRun


def run(
    caller: Caller,
    agent_id: UUID,
    body: RunCreate,
    *,
    in_background: bool,
    key: idempotency.IdempotencyKey | None = None,
) -> Run | QueuedRun | ReplayedRun:
    """Run an agent; the run is over, or queued for a worker where it needs one.

    Raises UnsupportedModel, TenantIsolationViolation for an agent that is not the tenant's,
    RateLimitExceeded, TooManyRuns and BudgetExceeded where the tenant's limits refuse it,
    ModelProviderFailed, DeadlineExceeded, ServiceUnavailable where the background or Redis is away,
    and, with a key, IdempotencyKeyReused and IdempotencyKeyInUse.
    """
    supported = catalogue.load()
    if body.model not in supported:
        raise UnsupportedModel(model=body.model, supported_models=list(supported))
    new = NewRun(
        id=uuid4(),
        agent_id=agent_id,
        model=body.model,
        prompt=body.prompt,
        limits=body.limits(background=in_background),
        is_queued=in_background,
    )
    created = _create(caller, new, key)
    if isinstance(created, UUID):
        return _replay(caller, created)
    creation, model = created
    run_journal = Journal.of_new(caller, new, creation)
    if model and not in_background:
        approvals = BackgroundHandOver(body.limits(background=True))
        try:
            state = Loop(run_journal, model, approvals).run_to_end()
            return _to_response(run_journal.caller, state)
        except RunHandedOver:
            pass
    try:
        background.start(run_journal.caller)
    except ServiceUnavailable:
        run_journal.abandon()
        raise
    return _queued(run_journal.run, creation.warning)


def work(run: RunCaller, owner: str, approvals: Approvals) -> RunState | None:
    """Work on a run in the background until it is over, and return its state.

    None if the run is over, another owner holds its lease, or its tenant was suspended: the sweep
    ends it then. Raises what `approvals` raise.
    """
    try:
        run_journal = Journal.claim(run, owner)
        if run_journal is None:
            return None
        if run_journal.run.crashes > MAX_CRASHES:
            count("RunsCrashed")
            return run_journal.end("failed", "crashed")
        name = run_journal.run.model
        own_key = credentials.own_key(name)
        model = credentials.model(run, run_journal.run.definition, name, own_key)
        return Loop(run_journal, model, approvals).run_to_end()
    except InvalidApiKey:
        return None


def _check_limits(caller: Caller, limits: TenantLimits, bound: UsageBound) -> None:
    """Raise RateLimitExceeded or BudgetExceeded where a run must not even be created."""
    if limits.runs_per_minute is not None:
        rate_limit.admit_run(caller, limits.runs_per_minute)
    if not limits.has_budget:
        return
    try:
        budgets.check_budget(caller, limits, bound)
    except budgets.BudgetRefused as refused:
        raise BudgetExceeded(**refused.details) from refused


def _create(
    caller: Caller, run: NewRun, key: idempotency.IdempotencyKey | None
) -> tuple[RunAdmission, Model | None] | UUID:
    """Create a run and choose its model, or return the id of the run that the key has created.

    It is one round trip where the tenant has no limits on runs and the model is free.
    """
    own_key = credentials.own_key(run.model)
    found = journal.create(
        caller,
        run,
        own_key=None if run.is_queued else own_key,
        may_create=key is None and (run.is_queued or credentials.is_free(run.model)),
    )
    if found is None:
        raise TenantIsolationViolation(resource_type="agent", resource_id=run.agent_id)
    if found.is_created:
        return found, credentials.model(caller, found.definition, run.model, None)
    model, bound = None, UsageBound()
    if found.has_budget or not run.is_queued:
        model = credentials.model(caller, found.definition, run.model, own_key)
        request = first_request(found.definition, run.prompt)
        bound = budgets.usage_bound(model.price, request, output_tokens(run.limits.max_tokens))
    try:
        _check_limits(caller, found, bound)
    except (RateLimitExceeded, BudgetExceeded):
        # A repeated request asks for no other run.
        if key and (stored := idempotency.find(caller, key)):
            return _execution_id(stored)
        raise
    created = _create_checked(caller, run, found, bound, key)
    return created if isinstance(created, UUID) else (created, model)


def _create_checked(
    caller: Caller,
    run: NewRun,
    checked: RunAdmission,
    first_call: UsageBound,
    key: idempotency.IdempotencyKey | None,
) -> RunAdmission | UUID:
    """Create a run, or return the id of the one that the key has created; raises TooManyRuns."""
    if key is None:
        return journal.create_checked(caller, run, checked, first_call)
    with db.Transaction() as transaction:
        if stored := idempotency.claim(caller, key, run.id):
            return _execution_id(stored)
        creation = journal.create_checked(caller, run, checked, first_call)
        transaction.commit(caller)
    return creation


def _execution_id(stored: idempotency.StoredResponse) -> UUID:
    if stored.execution_id is None:
        raise RuntimeError("an idempotency key of a run has no run")
    return stored.execution_id


def _replay(caller: Caller, execution_id: UUID) -> ReplayedRun:
    """Return the run that an earlier request created, once it is over; raises as `run` does."""
    deadline = time.monotonic() + MAX_REPLAY_SECONDS
    while True:
        [state] = db.read(caller, db.Query("runs/get", {"id": execution_id}, RunState))
        if state.background:
            return ReplayedRun(_queued(state, state.warning))
        if state.finished_at:
            try:
                return ReplayedRun(_to_response(caller, state))
            except ApiError as error:
                error.headers |= idempotency.REPLAYED
                raise
        if time.monotonic() > deadline:
            raise IdempotencyKeyInUse
        time.sleep(REPLAY_POLL_SECONDS)


def _queued(run: ClaimedRun | RunState, warning: str | None) -> QueuedRun:
    return QueuedRun(
        execution_id=run.id,
        agent_id=run.agent_id,
        agent_name=run.agent_name,
        model=run.model,
        warning=warning,
    )


def _to_response(caller: Caller | RunCaller, state: RunState) -> Run:
    """Return the response for a run that is over.

    Raises ModelProviderFailed, DeadlineExceeded, BudgetExceeded or ServiceUnavailable where that
    ended it.
    """
    if state.stop_reason == "budget_exceeded":
        [step] = db.read(caller, db.Query("runs/get_refusal", {"id": state.id}, dict[str, Any]))
        details = {name: value for name, value in step["result"].items() if name != "reason"}
        raise BudgetExceeded(**details, execution_id=state.id)
    if state.stop_reason == "budget_unavailable":
        raise ServiceUnavailable(reason="budget", execution_id=state.id)
    if state.stop_reason in PROVIDER_STOP_REASONS:
        raise ModelProviderFailed(execution_id=state.id, reason=state.stop_reason)
    if state.stop_reason == "timeout":
        raise DeadlineExceeded(execution_id=state.id)
    return Run(
        execution_id=state.id,
        agent_id=state.agent_id,
        agent_name=state.agent_name,
        model=state.model,
        prompt=state.prompt,
        response=state.response,
        tools_available=[tool.name for tool in state.definition.tools],
        warning=state.warning,
        executed_at=state.created_at,
        status=state.status,
        stop_reason=state.stop_reason,
        usage=Usage(
            input_tokens=state.input_tokens,
            output_tokens=state.output_tokens,
            cost_usd=state.cost_usd,
            steps=state.steps,
        ),
    )
