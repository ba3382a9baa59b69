"""Reading and steering a run that exists; whoever works on it sees a decision in the database."""

from uuid import UUID

from functions.executions.models import (
    Approval,
    ApprovalDecision,
    DecidedApproval,
    Step,
    StepList,
    WaitingRun,
)
from mini_agent import aws
from mini_agent.data import db
from mini_agent.errors import (
    ApprovalClosed,
    ExecutionAlreadyFinished,
    ExecutionNotFound,
    StepNotFound,
)
from mini_agent.executions import Execution
from mini_agent.identity.callers import Caller
from mini_agent.telemetry import logger


def get(caller: Caller, execution_id: UUID) -> Execution:
    """Return a run; raises ExecutionNotFound."""
    found = db.read(caller, db.Query("executions/get", {"id": execution_id}, Execution))
    return db.first(found, ExecutionNotFound(execution_id=execution_id))


def get_with_steps(
    caller: Caller, execution_id: UUID, *, since: int
) -> tuple[Execution, list[Step]]:
    """Return a run and its steps from a number on, as of one moment; raises ExecutionNotFound."""
    found, steps = db.read(
        caller,
        db.Query("executions/get", {"id": execution_id}, Execution),
        db.Query("executions/list_steps", {"id": execution_id, "since": since}, Step),
    )
    return db.first(found, ExecutionNotFound(execution_id=execution_id)), steps


def list_steps(caller: Caller, execution_id: UUID) -> StepList:
    """Return the steps of a run; raises ExecutionNotFound."""
    return StepList(items=get_with_steps(caller, execution_id, since=1)[1])


def cancel(caller: Caller, execution_id: UUID) -> Execution:
    """Cancel a run and return it; one that is cancelled already stays as it is.

    Raises ExecutionNotFound, ExecutionAlreadyFinished.
    """
    cancelled = db.write(caller, db.Query("executions/cancel", {"id": execution_id}, WaitingRun))
    execution = get(caller, execution_id)
    if execution.status != "cancelled":
        raise ExecutionAlreadyFinished(execution_id=execution_id, status=execution.status)
    for run in cancelled:
        _wake(run)
    return execution


def decide(caller: Caller, execution_id: UUID, step: int, decision: ApprovalDecision) -> Approval:
    """Decide about a tool call that waits for approval; repeating a decision changes nothing.

    Raises ExecutionNotFound, StepNotFound, ApprovalClosed.
    """
    approval = {"id": execution_id, "step": step}
    fields = approval | decision.model_dump() | {"key_id": caller.key_id}
    decided = db.write(caller, db.Query("executions/decide_approval", fields, DecidedApproval))
    if not decided:
        get(caller, execution_id)
        decided = db.read(caller, db.Query("executions/get_approval", approval, DecidedApproval))
        if not decided:
            raise StepNotFound(execution_id=execution_id, step=step)
        if decided[0].decision != decision.decision:
            raise ApprovalClosed(execution_id=execution_id, step=step, decision=decided[0].decision)
    # Also for a repeated decision: the first request may have died before it woke the run.
    _wake(decided[0])
    return Approval(execution_id=execution_id, step=step, decision=decision.decision)


def _wake(run: WaitingRun) -> None:
    """Wake a run that waits; it reads the decision itself, so waking it twice does no harm."""
    callback = run.callback
    if callback:
        db.after_commit(lambda: _send_callback(callback))


def _send_callback(callback: str) -> None:
    call = "send_durable_execution_callback_success"
    try:
        aws.call("lambda", call, CallbackId=callback, Result=b"{}")
    except aws.AwsError as error:
        logger.warning("a waiting run was not woken", extra={"cause": error.code})
