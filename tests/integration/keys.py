"""What the tests of keys share."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from tests.conftest import Connection
from tests.integration.client import Client, identified

READER = {"name": "Reader", "scopes": ["tools:read"]}
FIELDS = {
    *("id", "name", "prefix", "last_four", "scopes"),
    *("created_at", "expires_at", "revoked_at", "last_used_at"),
}
"""Of a key, in every answer; the key itself is in one more, once."""
ONCE = {"Idempotency-Key": "key-1"}
MakeKey = Callable[..., dict[str, Any]]


def client_of(key: str) -> Client:
    """Return a client that sends a key which was just shown."""
    [caller] = identified(key)
    assert caller
    return Client(caller)


def works(key: dict[str, Any]) -> bool:
    return identified(key["key"]) != [None]


def time_of(text: str) -> datetime:
    return datetime.fromisoformat(text)


def stored(admin: Connection) -> list[tuple[Any, ...]]:
    """Return every column of every key."""
    return admin.execute("select k::text from app.api_keys k order by k::text").fetchall()
