"""The history over HTTP."""

from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Query, Request, Response, Security

from functions.history import service
from functions.history.models import (
    Execution,
    ExportQuery,
    HistoryQuery,
    UsageQuery,
    UsageReport,
)
from mini_agent import errors
from mini_agent.http import api
from mini_agent.http.pagination import Page
from mini_agent.identity.callers import Caller

Reader = Annotated[Caller, Security(api.authorize, scopes=["history:read"])]

NEXT_HEADERS = {
    "X-Next-Cursor": "The `cursor` of the next page; left out on the last",
    "Link": 'The next page, `rel="next"`; left out on the last',
}

router = api.router("/api/v1", tags=["History"])


@router.get("/history", summary="List executions", response_model_exclude_unset=True)
async def list_executions(
    caller: Reader, query: Annotated[HistoryQuery, Query()]
) -> Page[Execution]:
    """List executions, newest first; filters are exact, times exclusive, and all combine."""
    return service.list_page(caller, query)


@router.get(
    "/history/export",
    summary="Export executions",
    response_class=Response,
    responses={
        200: {
            "description": "An execution a line",
            "content": {api.NDJSON: {"schema": {"type": "string"}}},
            "headers": {
                name: {"description": description, "schema": {"type": "string"}}
                for name, description in NEXT_HEADERS.items()
            },
        }
    },
)
async def export_executions(
    caller: Reader, query: Annotated[ExportQuery, Query()], request: Request
) -> Response:
    """Export executions, newest first: each line is JSON as the execution by its id is.

    A page may have fewer than `limit` where they are long; the last page has no `X-Next-Cursor`.
    """
    lines, cursor = service.export(caller, query)
    headers = {}
    if cursor:
        following = urlencode(dict(request.query_params) | {"cursor": cursor})
        headers = {
            "X-Next-Cursor": cursor,
            "Link": f'<{api.path(request)}?{following}>; rel="next"',
        }
    return Response("".join(lines), media_type=api.NDJSON, headers=headers)


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
