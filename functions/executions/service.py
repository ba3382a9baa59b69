"""The rules of executions."""

from uuid import UUID

from functions.executions.models import (
    Approval,
    ApprovalIn,
    Cancelled,
    Decided,
    Execution,
    Step,
    StepList,
)
from mini_agent import aws
from mini_agent.data import db
from mini_agent.errors import (
    ApprovalClosed,
    ExecutionAlreadyFinished,
    ExecutionNotFound,
    StepNotFound,
)
from mini_agent.identity.callers import Caller
from mini_agent.telemetry import logger


def get(caller: Caller, execution_id: UUID) -> Execution:
    """Return a run; raises ExecutionNotFound."""
    return _one(
        db.read(caller, db.Query("executions/get", {"id": execution_id}, Execution)), execution_id
    )


def steps(caller: Caller, execution_id: UUID) -> StepList:
    """Return the steps of a run; raises ExecutionNotFound."""
    asked = {"id": execution_id}
    found, listed = db.read(
        caller,
        db.Query("executions/get", asked, Execution),
        db.Query("executions/steps", asked, Step),
    )
    _one(found, execution_id)
    return StepList(items=listed)


def cancel(caller: Caller, execution_id: UUID) -> Execution:
    """Cancel a run and return it; a run that was cancelled before stays so.

    Raises ExecutionNotFound, ExecutionAlreadyFinished.
    """
    cancelled = db.write(caller, db.Query("executions/cancel", {"id": execution_id}, Cancelled))
    execution = get(caller, execution_id)
    if execution.status != "cancelled":
        raise ExecutionAlreadyFinished(execution_id=execution_id, status=execution.status)
    if cancelled and cancelled[0].callback:
        _wake(cancelled[0].callback)
    return execution


def decide(caller: Caller, execution_id: UUID, step: int, approval: ApprovalIn) -> Approval:
    """Decide about a tool call that waits; the same decision again changes nothing.

    Raises ExecutionNotFound, StepNotFound, ApprovalClosed.
    """
    asked = {"id": execution_id, "step": step}
    decision = asked | approval.model_dump() | {"key_id": caller.key_id}
    decided = db.write(caller, db.Query("executions/decide", decision, Decided))
    if not decided:
        get(caller, execution_id)
        decided = db.read(caller, db.Query("executions/approval", asked, Decided))
        if not decided:
            raise StepNotFound(execution_id=execution_id, step=step)
        if decided[0].decision != approval.decision:
            raise ApprovalClosed(execution_id=execution_id, step=step, decision=decided[0].decision)
    # Also where it was decided before: whoever decided may have died before this line.
    if decided[0].callback:
        _wake(decided[0].callback)
    return Approval(execution_id=execution_id, step=step, decision=approval.decision)


def _one(found: list[Execution], execution_id: UUID) -> Execution:
    if not found:
        raise ExecutionNotFound(execution_id=execution_id)
    return found[0]


def _wake(callback: str) -> None:
    """Call the run back that waits; it reads the decision itself, so one call is as good as two."""
    db.after_commit(lambda: _call_back(callback))


def _call_back(callback: str) -> None:
    call = "send_durable_execution_callback_success"
    try:
        aws.call("lambda", call, CallbackId=callback, Result=b"{}")
    except aws.AwsCallFailed as error:
        logger.warning("a run was not called back", extra={"cause": error.code})
