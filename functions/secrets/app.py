"""Secrets over HTTP: credentials for tools and models, which can be written but never read."""

from typing import Annotated

from fastapi import Query, Security

from functions.secrets import service
from functions.secrets.models import Secret, SecretName, SecretQuery, SecretValue
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
async def put_secret(caller: Writer, name: SecretName, secret: SecretValue) -> Secret:
    """Create a secret or replace its value, which tools can use and no response shows."""
    return service.put(caller, name, secret)


@router.get("", summary="List secrets", response_model_exclude_unset=True)
async def list_secrets(caller: Reader, query: Annotated[SecretQuery, Query()]) -> Page[Secret]:
    """List the names of secrets, oldest first."""
    return service.list_page(caller, query)


@router.delete(
    "/{name}",
    status_code=204,
    summary="Delete a secret",
    responses=errors.responses(errors.SecretNotFound),
)
async def delete_secret(caller: Writer, name: SecretName) -> None:
    """Delete a secret; tools that refer to it fail from then on."""
    service.delete(caller, name)


handler = api.handler(router)
