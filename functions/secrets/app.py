"""Secrets over HTTP: what tools and a tenant's own model keys need, written and never read."""

from typing import Annotated

from fastapi import Query, Security

from functions.secrets import service
from functions.secrets.models import SecretIn, SecretName, SecretQuery, StoredSecret
from mini_agent import errors
from mini_agent.http import api
from mini_agent.http.pagination import Page
from mini_agent.identity.callers import Caller

Reader = Annotated[Caller, Security(api.authorize, scopes=["secrets:read"])]
Writer = Annotated[Caller, Security(api.authorize, scopes=["secrets:write"])]

router = api.router("/api/v1/secrets", tags=["Secrets"])


@router.put(
    "/{name}",
    summary="Set a secret",
    responses=errors.responses(errors.UnsupportedMediaType),
)
async def put_secret(caller: Writer, name: SecretName, secret: SecretIn) -> StoredSecret:
    """Make a secret or give it another value. It can be used in tools, and is never told again."""
    return service.put(caller, name, secret)


@router.get("", summary="List secrets", response_model_exclude_unset=True)
async def list_secrets(
    caller: Reader, query: Annotated[SecretQuery, Query()]
) -> Page[StoredSecret]:
    """List the names of secrets, oldest first."""
    return service.list_page(caller, query)


@router.delete(
    "/{name}",
    status_code=204,
    summary="Delete a secret",
    responses=errors.responses(errors.SecretNotFound),
)
async def delete_secret(caller: Writer, name: SecretName) -> None:
    """Delete a secret; tools that name it fail from then on."""
    service.delete(caller, name)


handler = api.handler(router)
