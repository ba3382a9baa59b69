"""A tenant's own API keys over HTTP."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Request, Response, Security

from functions.keys import service
from functions.keys.models import ApiKeyCreate, ApiKeyQuery, ApiKeyRotate
from mini_agent import errors
from mini_agent.http import api
from mini_agent.http.pagination import Page
from mini_agent.identity.api_keys import ApiKey, NewApiKey
from mini_agent.identity.callers import Caller

Manager = Annotated[Caller, Security(api.authorize, scopes=["keys:write"])]

router = api.router("/api/v1/keys", tags=["Keys"])


@router.post(
    "",
    status_code=201,
    summary="Create a key",
    responses=errors.responses(errors.UnsupportedMediaType),
)
async def create_key(
    caller: Manager, key: ApiKeyCreate, request: Request, response: Response
) -> NewApiKey:
    """Create a key with no more scopes than yours. Only this response shows the key."""
    created = service.create(caller, key)
    response.headers["Location"] = api.location(request, created.id)
    return created


@router.get("", summary="List keys", response_model_exclude_unset=True)
async def list_keys(caller: Manager, query: Annotated[ApiKeyQuery, Query()]) -> Page[ApiKey]:
    """List keys, oldest first, revoked and expired ones included; the filter is exact."""
    return service.list_page(caller, query)


@router.get("/{key_id}", summary="Get a key by id", responses=errors.responses(errors.KeyNotFound))
async def get_key(caller: Manager, key_id: UUID) -> ApiKey:
    """Read a key's name, scopes and times. The key itself is not stored."""
    return service.get(caller, key_id)


@router.post(
    "/{key_id}/rotate",
    status_code=201,
    summary="Rotate a key",
    responses=errors.responses(errors.KeyNotFound, errors.UnsupportedMediaType),
)
async def rotate_key(
    caller: Manager, key_id: UUID, rotation: ApiKeyRotate, request: Request, response: Response
) -> NewApiKey:
    """Create a key of the same name and scopes; the old one works until the overlap ends.

    A revoked or expired key cannot be rotated, nor one with a scope that yours lacks.
    """
    created = service.rotate(caller, key_id, rotation)
    base, _, _ = api.location(request, created.id).rpartition("/keys/")
    response.headers["Location"] = f"{base}/keys/{created.id}"
    return created


@router.delete(
    "/{key_id}",
    status_code=204,
    summary="Revoke a key",
    responses=errors.responses(errors.KeyNotFound),
)
async def revoke_key(caller: Manager, key_id: UUID) -> None:
    """Revoke a key, even your own: at once and for good. It stays in the list."""
    service.revoke(caller, key_id)


handler = api.handler(router)
