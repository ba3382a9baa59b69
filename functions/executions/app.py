"""Runs over HTTP: their state and steps, and how to cancel, approve or reject."""

from typing import Annotated
from uuid import UUID

from fastapi import Path, Security

from functions.executions import service
from functions.executions.models import Approval, ApprovalDecision, StepList
from mini_agent import errors
from mini_agent.executions import Execution
from mini_agent.http import api
from mini_agent.identity.callers import Caller

Reader = Annotated[Caller, Security(api.authorize, scopes=["runs:read"])]
Writer = Annotated[Caller, Security(api.authorize, scopes=["runs:write"])]

router = api.router("/api/v1/executions", tags=["Runs"])


@router.get(
    "/{execution_id}", summary="Get a run", responses=errors.responses(errors.ExecutionNotFound)
)
async def get_run(caller: Reader, execution_id: UUID) -> Execution:
    """Read a run's state, what it has used and what it has cost."""
    return service.get(caller, execution_id)


@router.get(
    "/{execution_id}/steps",
    summary="List the steps of a run",
    responses=errors.responses(errors.ExecutionNotFound),
)
async def list_steps(caller: Reader, execution_id: UUID) -> StepList:
    """List the steps that a run has taken so far, in order."""
    return service.list_steps(caller, execution_id)


@router.post(
    "/{execution_id}/cancel",
    summary="Cancel a run",
    responses=errors.responses(errors.ExecutionNotFound, errors.ExecutionAlreadyFinished),
)
async def cancel_run(caller: Writer, execution_id: UUID) -> Execution:
    """Cancel a run: the current step may still finish, and no other starts."""
    return service.cancel(caller, execution_id)


@router.post(
    "/{execution_id}/approvals/{step}",
    summary="Approve or reject a tool call",
    responses=errors.responses(
        errors.ExecutionNotFound,
        errors.StepNotFound,
        errors.ApprovalClosed,
        errors.UnsupportedMediaType,
    ),
)
async def decide_approval(
    caller: Writer,
    execution_id: UUID,
    step: Annotated[int, Path(ge=1, le=1_000_000)],
    decision: ApprovalDecision,
) -> Approval:
    """Approve or reject a tool call that waits for it; the run continues from there."""
    return service.decide(caller, execution_id, step, decision)


handler = api.handler(router)
