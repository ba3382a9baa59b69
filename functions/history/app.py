"""The history over HTTP."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Security

from functions.history import service
from functions.history.models import Execution, HistoryQuery, UsageQuery, UsageReport
from mini_agent import api, errors
from mini_agent.page import Page
from mini_agent.tenant import Caller

Reader = Annotated[Caller, Security(api.authorize, scopes=["history:read"])]

router = api.router("/api/v1", tags=["History"])


@router.get("/history", summary="List executions", response_model_exclude_unset=True)
async def list_executions(
    caller: Reader, query: Annotated[HistoryQuery, Query()]
) -> Page[Execution]:
    """List executions, newest first; filters are exact, times exclusive, and all combine."""
    return service.list_page(caller, query)


@router.get(
    "/history/{execution_id}",
    summary="Get an execution by id",
    responses=errors.responses(errors.ExecutionNotFound),
)
async def get_execution(caller: Reader, execution_id: UUID) -> Execution:
    """Read one execution."""
    return service.get(caller, execution_id)


@router.get("/usage", summary="Add up tokens, runs and cost")
async def read_usage(caller: Reader, query: Annotated[UsageQuery, Query()]) -> UsageReport:
    """Add up what runs used, by day, model and agent; at most 1 000 rows, the newest days first."""
    return service.usage(caller, query)


handler = api.handler(router)
