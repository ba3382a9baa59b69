"""The rules of keys that a tenant manages itself."""

from collections.abc import Iterable
from typing import Any, TypeVar
from uuid import UUID

from functions.keys.models import KeyIn, KeyQuery, RotationIn
from mini_agent.data import db
from mini_agent.errors import InsufficientScope, KeyNotFound
from mini_agent.http import pagination
from mini_agent.identity import api_keys
from mini_agent.identity.api_keys import ApiKey, NewApiKey
from mini_agent.identity.callers import Caller

Found = TypeVar("Found", bound=ApiKey)


def create(caller: Caller, asked: KeyIn) -> NewApiKey:
    """Return the new key; raises InsufficientScope for a scope that the caller lacks."""
    _check_may_give(caller, asked.scopes)
    fields = asked.model_dump() | {"scopes": sorted({*asked.scopes})}
    [created] = _issue(caller, "keys/create", fields)
    return created


def rotate(caller: Caller, key_id: UUID, asked: RotationIn) -> NewApiKey:
    """Return a new key in place of another, which ends after the overlap.

    Raises KeyNotFound, where the other has ended too, and InsufficientScope where it may do more
    than the caller: else a lesser key would become a greater one.
    """
    scopes = get(caller, key_id).scopes
    _check_may_give(caller, scopes)
    fields = asked.model_dump() | {"old_id": key_id, "scopes": scopes}
    return _one(_issue(caller, "keys/rotate", fields), key_id)


def get(caller: Caller, key_id: UUID) -> ApiKey:
    """Return a key; raises KeyNotFound."""
    return _one(db.read(caller, db.Query("keys/get", {"id": key_id}, ApiKey)), key_id)


def list_page(caller: Caller, query: KeyQuery) -> pagination.Page[ApiKey]:
    """Return a page of keys, oldest first."""
    return pagination.fetch(caller, "keys", query, ApiKey)


def revoke(caller: Caller, key_id: UUID) -> None:
    """End a key at once, for good; raises KeyNotFound."""
    _one(db.write(caller, db.Query("keys/revoke", {"id": key_id}, ApiKey)), key_id)


def _check_may_give(caller: Caller, scopes: Iterable[str]) -> None:
    for scope in scopes:
        if scope not in caller.scopes:
            raise InsufficientScope(required_scope=scope)


def _issue(caller: Caller, query: str, fields: dict[str, Any]) -> list[NewApiKey]:
    key, stored = api_keys.issue()
    # The database knows the caller's scopes too, and its word is the last.
    greater = InsufficientScope(required_scope=" ".join(fields["scopes"]))
    made = db.write(
        caller,
        db.Query(query, fields | stored, NewApiKey),
        refusals={"api_keys_no_greater_than_maker": greater},
    )
    return [new.model_copy(update={"key": key}) for new in made]


def _one(found: list[Found], key_id: UUID) -> Found:
    if not found:
        raise KeyNotFound(key_id=key_id)
    return found[0]
