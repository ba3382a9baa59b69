"""Running an agent over HTTP."""

from typing import Annotated
from uuid import UUID

from fastapi import Security

from functions.runs import service
from functions.runs.models import Run, RunIn
from mini_agent import api, errors
from mini_agent.tenant import Caller

Runner = Annotated[Caller, Security(api.authorize, scopes=["runs:write"])]

router = api.router("/api/v1/agents", tags=["Runs"])


@router.post(
    "/{agent_id}/run",
    summary="Run an agent",
    responses=errors.responses(
        errors.InsufficientScope,
        errors.TenantIsolationViolation,
        errors.ValidationFailed,
        errors.UnsupportedModel,
        errors.UnsupportedMediaType,
    ),
)
async def run_agent(caller: Runner, agent_id: UUID, asked: RunIn) -> Run:
    """Ask an agent and wait for its answer, which the history keeps."""
    return service.run(caller, agent_id, asked)


handler = api.handler(router, spends=True)
