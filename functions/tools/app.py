"""Tools over HTTP."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Request, Response, Security

from functions.tools import service
from functions.tools.models import Tool, ToolCreate, ToolQuery, ToolUpdate
from mini_agent import errors
from mini_agent.http import api
from mini_agent.http.pagination import Page
from mini_agent.identity.callers import Caller

Reader = Annotated[Caller, Security(api.authorize, scopes=["tools:read"])]
Writer = Annotated[Caller, Security(api.authorize, scopes=["tools:write"])]

router = api.router("/api/v1/tools", tags=["Tools"])


@router.post(
    "",
    status_code=201,
    summary="Create a tool",
    responses=errors.responses(errors.DuplicateToolName, errors.UnsupportedMediaType),
)
async def create_tool(
    caller: Writer, tool: ToolCreate, request: Request, response: Response
) -> Tool:
    """Create a tool that this tenant's agents can use."""
    created = service.create(caller, tool)
    response.headers["Location"] = api.location(request, created.id)
    return created


@router.get("", summary="List tools", response_model_exclude_unset=True)
async def list_tools(caller: Reader, query: Annotated[ToolQuery, Query()]) -> Page[Tool]:
    """List tools, oldest first; filters are exact and combine."""
    return service.list_page(caller, query)


@router.get(
    "/{tool_id}", summary="Get a tool by id", responses=errors.responses(errors.ToolNotFound)
)
async def get_tool(caller: Reader, tool_id: UUID) -> Tool:
    """Read one tool."""
    return service.get(caller, tool_id)


@router.put(
    "/{tool_id}",
    summary="Update a tool",
    responses=errors.responses(
        errors.ToolNotFound, errors.DuplicateToolName, errors.UnsupportedMediaType
    ),
)
async def update_tool(caller: Writer, tool_id: UUID, tool: ToolUpdate) -> Tool:
    """Change the fields in the body; the others keep their values."""
    return service.update(caller, tool_id, tool)


@router.delete(
    "/{tool_id}",
    status_code=204,
    summary="Delete a tool",
    responses=errors.responses(errors.ToolNotFound, errors.ToolInUse),
)
async def delete_tool(caller: Writer, tool_id: UUID) -> None:
    """Delete a tool that no agent uses."""
    service.delete(caller, tool_id)


handler = api.handler(router)
