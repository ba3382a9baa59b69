"""Agents over HTTP."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Request, Response, Security

from functions.agents import service
from functions.agents.models import Agent, AgentCreate, AgentQuery, AgentUpdate
from mini_agent import errors
from mini_agent.http import api
from mini_agent.http.pagination import Page
from mini_agent.identity.callers import Caller

Reader = Annotated[Caller, Security(api.authorize, scopes=["agents:read"])]
Writer = Annotated[Caller, Security(api.authorize, scopes=["agents:write"])]

router = api.router("/api/v1/agents", tags=["Agents"])


@router.post(
    "",
    status_code=201,
    summary="Create an agent",
    responses=errors.responses(
        errors.InsufficientScope,
        errors.CrossTenantTool,
        errors.DuplicateAgentName,
        errors.UnsupportedMediaType,
    ),
)
async def create_agent(
    caller: Writer, agent: AgentCreate, request: Request, response: Response
) -> Agent:
    """Create an agent with tools of this tenant."""
    created = service.create(caller, agent)
    response.headers["Location"] = api.location(request, created.id)
    return created


@router.get("", summary="List agents", response_model_exclude_unset=True)
async def list_agents(caller: Reader, query: Annotated[AgentQuery, Query()]) -> Page[Agent]:
    """List agents with their tools, oldest first; filters are exact and combine."""
    return service.list_page(caller, query)


@router.get(
    "/{agent_id}", summary="Get an agent by id", responses=errors.responses(errors.AgentNotFound)
)
async def get_agent(caller: Reader, agent_id: UUID) -> Agent:
    """Read one agent with its tools."""
    return service.get(caller, agent_id)


@router.put(
    "/{agent_id}",
    summary="Update an agent",
    responses=errors.responses(
        errors.InsufficientScope,
        errors.CrossTenantTool,
        errors.AgentNotFound,
        errors.DuplicateAgentName,
        errors.UnsupportedMediaType,
    ),
)
async def update_agent(caller: Writer, agent_id: UUID, agent: AgentUpdate) -> Agent:
    """Change the fields in the body; `tool_ids` replaces all tools."""
    return service.update(caller, agent_id, agent)


@router.delete(
    "/{agent_id}",
    status_code=204,
    summary="Delete an agent",
    responses=errors.responses(errors.AgentNotFound),
)
async def delete_agent(caller: Writer, agent_id: UUID) -> None:
    """Delete an agent; its runs stay in the history."""
    service.delete(caller, agent_id)


handler = api.handler(router)
