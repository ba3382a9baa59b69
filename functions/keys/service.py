"""A tenant's own API keys: no key can create one with more scopes than its own."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from functions.keys.models import ApiKeyCreate, ApiKeyQuery, ApiKeyRotate
from mini_agent.data import db
from mini_agent.errors import InsufficientScope, KeyNotFound
from mini_agent.http import pagination
from mini_agent.identity import api_keys
from mini_agent.identity.api_keys import ApiKey, NewApiKey
from mini_agent.identity.callers import Caller


def create(caller: Caller, key: ApiKeyCreate) -> NewApiKey:
    """Return the new key; raises InsufficientScope for a scope that the caller lacks."""
    _require_scopes(caller, key.scopes)
    fields = key.model_dump() | {"scopes": sorted({*key.scopes})}
    [created] = _issue(caller, "keys/create", fields)
    return created


def rotate(caller: Caller, key_id: UUID, rotation: ApiKeyRotate) -> NewApiKey:
    """Return the new key that replaces another, which ends after the overlap.

    Raises KeyNotFound, for a revoked or expired key too, and InsufficientScope for a key with a
    scope that the caller lacks: rotating it would give the caller that scope.
    """
    scopes = get(caller, key_id).scopes
    _require_scopes(caller, scopes)
    fields = rotation.model_dump() | {"old_id": key_id, "scopes": scopes}
    return db.first(_issue(caller, "keys/rotate", fields), KeyNotFound(key_id=key_id))


def get(caller: Caller, key_id: UUID) -> ApiKey:
    """Return a key; raises KeyNotFound."""
    found = db.read(caller, db.Query("keys/get", {"id": key_id}, ApiKey))
    return db.first(found, KeyNotFound(key_id=key_id))


def list_page(caller: Caller, query: ApiKeyQuery) -> pagination.Page[ApiKey]:
    """Return a page of keys, oldest first."""
    return pagination.fetch(caller, "keys", query, ApiKey)


def revoke(caller: Caller, key_id: UUID) -> None:
    """Revoke a key at once and for good; raises KeyNotFound."""
    revoked = db.write(caller, db.Query("keys/revoke", {"id": key_id}, ApiKey))
    db.first(revoked, KeyNotFound(key_id=key_id))


def _require_scopes(caller: Caller, scopes: Iterable[str]) -> None:
    for scope in scopes:
        if scope not in caller.scopes:
            raise InsufficientScope(required_scope=scope)


def _issue(caller: Caller, query: str, fields: dict[str, Any]) -> list[NewApiKey]:
    key, columns = api_keys.issue()
    # The database checks the scopes again: the caller's may have changed since it was authorized.
    refused = InsufficientScope(required_scope=" ".join(fields["scopes"]))
    created = db.write(
        caller,
        db.Query(query, fields | columns, NewApiKey),
        refusals={"api_keys_scopes_within_creator": refused},
    )
    return [row.model_copy(update={"key": key}) for row in created]
