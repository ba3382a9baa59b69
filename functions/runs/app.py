"""Runs over HTTP: run an agent, list the models on offer."""

from typing import Annotated
from uuid import UUID

from fastapi import Header, Request, Response, Security

from functions.runs import background, service
from functions.runs.models import ModelList, QueuedRun, Run, RunCreate
from mini_agent import errors
from mini_agent.http import api, idempotency
from mini_agent.identity.callers import Caller

Runner = Annotated[Caller, Security(api.authorize, scopes=["runs:write"])]
Reader = Annotated[Caller, Security(api.authorize, scopes=["runs:read"])]
Preference = Annotated[
    str,
    Header(
        description="`respond-async` (RFC 7240): do not wait, answer 202 with the run's address;"
        " ignored where there is no worker for the background",
        examples=["respond-async"],
    ),
]

router = api.router("/api/v1", tags=["Runs"], own_transactions=True)


@router.post(
    "/agents/{agent_id}/run",
    summary="Run an agent",
    responses={
        202: {
            "model": QueuedRun,
            "description": "The run continues in the background; see `Location`",
        },
        **errors.responses(
            errors.InsufficientScope,
            errors.TenantIsolationViolation,
            errors.ValidationFailed,
            errors.UnsupportedModel,
            errors.UnsupportedMediaType,
            errors.BudgetExceeded,
            errors.RateLimitExceeded,
            errors.TooManyRuns,
            errors.ModelProviderFailed,
        ),
    },
)
async def run_agent(
    caller: Runner,
    agent_id: UUID,
    body: RunCreate,
    request: Request,
    response: Response,
    prefer: Preference = "",
) -> Run | QueuedRun:
    """Run an agent and wait for its answer, or, with `Prefer: respond-async`, do not wait.

    A run whose tool call needs a person's approval continues in the background, too.
    """
    preferences = {part.strip().lower() for part in prefer.replace(";", ",").split(",")}
    in_background = "respond-async" in preferences and background.is_available()
    key = await idempotency.key(request)
    run = service.run(caller, agent_id, body, in_background=in_background, key=key)
    if isinstance(run, service.ReplayedRun):
        response.headers.update(idempotency.REPLAYED)
        run = run.run
    if isinstance(run, QueuedRun):
        response.status_code = 202
        base = api.location(request, "").partition("/agents/")[0]
        response.headers["Location"] = f"{base}/executions/{run.execution_id}"
        if in_background:
            response.headers["Preference-Applied"] = "respond-async"
    return run


@router.get("/models", summary="List the models on offer")
async def list_models(caller: Reader) -> ModelList:  # noqa: ARG001 - any caller may read it
    """List the models that agents can think with, with their prices."""
    return service.models()


handler = api.handler(router, requires_limiter=True)
