"""A tenant's own API keys over HTTP."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Request, Response, Security

from functions.keys import service
from functions.keys.models import KeyIn, KeyQuery, RotationIn
from mini_agent import errors
from mini_agent.http import api
from mini_agent.http.pagination import Page
from mini_agent.identity.api_keys import ApiKey, NewApiKey
from mini_agent.identity.callers import Caller

Keeper = Annotated[Caller, Security(api.authorize, scopes=["keys:write"])]

router = api.router("/api/v1/keys", tags=["Keys"])


@router.post(
    "",
    status_code=201,
    summary="Create a key",
    responses=errors.responses(errors.UnsupportedMediaType),
)
async def create_key(caller: Keeper, key: KeyIn, request: Request, response: Response) -> NewApiKey:
    """Make a key that may do no more than yours. The answer alone tells it."""
    created = service.create(caller, key)
    response.headers["Location"] = api.location(request, created.id)
    return created


@router.get("", summary="List keys", response_model_exclude_unset=True)
async def list_keys(caller: Keeper, query: Annotated[KeyQuery, Query()]) -> Page[ApiKey]:
    """List keys, oldest first, those that have ended too; the filter is exact."""
    return service.list_page(caller, query)


@router.get("/{key_id}", summary="Get a key by id", responses=errors.responses(errors.KeyNotFound))
async def get_key(caller: Keeper, key_id: UUID) -> ApiKey:
    """Read what is known of one key; not the key itself, which nobody knows."""
    return service.get(caller, key_id)


@router.post(
    "/{key_id}/rotate",
    status_code=201,
    summary="Replace a key",
    responses=errors.responses(errors.KeyNotFound, errors.UnsupportedMediaType),
)
async def rotate_key(
    caller: Keeper, key_id: UUID, rotation: RotationIn, request: Request, response: Response
) -> NewApiKey:
    """Make a key of the same name and scopes; both work until the overlap ends the old one.

    A key that is revoked or expired cannot be replaced, nor one that may do more than yours.
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
async def revoke_key(caller: Keeper, key_id: UUID) -> None:
    """End a key at once and for good, be it your own; what is known of it stays."""
    service.revoke(caller, key_id)


handler = api.handler(router)
