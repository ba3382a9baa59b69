"""The history over HTTP: lists, exports, single executions, usage; it needs only the database."""

from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Query, Request, Response, Security

from functions.executions import history, service
from functions.executions.models import ExportQuery, HistoryQuery, UsageQuery, UsageReport
from mini_agent import errors
from mini_agent.executions import Execution
from mini_agent.http import api
from mini_agent.http.pagination import Page
from mini_agent.identity.callers import Caller

Reader = Annotated[Caller, Security(api.authorize, scopes=["history:read"])]

NEXT_HEADERS = {
    "X-Next-Cursor": "The `cursor` of the next page; absent on the last",
    "Link": 'The next page, `rel="next"`; absent on the last',
}

router = api.router("/api/v1", tags=["History"])


@router.get("/history", summary="List executions", response_model_exclude_unset=True)
async def list_executions(
    caller: Reader, query: Annotated[HistoryQuery, Query()]
) -> Page[Execution]:
    """List executions, newest first; filters are exact, times exclusive, and all combine."""
    return history.list_page(caller, query)


@router.get(
    "/history/export",
    summary="Export executions",
    response_class=Response,
    responses={
        200: {
            "description": "One execution per line",
            "content": {
                api.NDJSON: {
                    "schema": {
                        "type": "string",
                        "description": "Each line is an `Execution` as JSON.",
                        "contentMediaType": api.NDJSON,
                        "contentSchema": {"$ref": "#/components/schemas/Execution"},
                    }
                }
            },
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
    """Export executions, newest first: each line is an execution as JSON, as its id gives it.

    A page of long executions may have fewer than `limit`; the last page has no `X-Next-Cursor`.
    """
    lines, cursor = history.export(caller, query)
    headers = {}
    if cursor:
        parameters = urlencode(dict(request.query_params) | {"cursor": cursor})
        headers = {
            "X-Next-Cursor": cursor,
            "Link": f'<{api.path(request)}?{parameters}>; rel="next"',
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
    """Add up usage by day, model and agent: at most 1 000 rows, the newest days first."""
    return history.usage(caller, query)


handler = api.handler(router)
