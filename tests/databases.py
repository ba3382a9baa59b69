"""Settings and databases for the length of a test, and queries as the server sees them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from functions.migrate import app as migrate
from local import backends
from mini_agent.data import db, queries, redis_client
from mini_agent.identity import api_keys
from mini_agent.identity.callers import Caller
from mini_agent.settings import settings

Connection = psycopg.Connection[tuple[Any, ...]]


@contextmanager
def configured(**values: str) -> Iterator[None]:
    """Change settings for the block; it connects anew, and so does what follows it."""
    with pytest.MonkeyPatch.context() as env:
        for name, value in values.items():
            env.setenv(f"MAP_{name.upper()}", value)
        env.setattr(redis_client, "TIMEOUT_SECONDS", 5.0)  # a busy machine is not an outage
        _reset()
        yield
    _reset()


def _reset() -> None:
    settings.cache_clear()
    db.close()
    redis_client.close()


@contextmanager
def database_of_its_own(server: backends.Server, name: str) -> Iterator[Connection]:
    """Make a migrated database that requests use in the block; yield the superuser's connection."""
    with connect(server, "postgres", "postgres") as conn:
        conn.execute(f"create database {name}")
    with configured(database_name=name, database_user="map_migrator"):
        migrate.run()
    with (
        configured(database_name=name, database_user="map_api"),
        connect(server, "postgres", name) as admin,
    ):
        yield admin
    with connect(server, "postgres", "postgres") as conn:
        conn.execute(f"drop database {name} with (force)")


def connect(server: backends.Server, user: str, database: str = "map") -> Connection:
    """Return a connection in autocommit."""
    return psycopg.connect(host=server.socket, user=user, dbname=database, autocommit=True)


def enter(conn: Connection, caller: Caller) -> None:
    """Enter the open transaction as a tenant."""
    conn.execute("select app.enter_tenant(%s, %s)", (caller.tenant_id, caller.key_id))


def new_tenant(
    admin: Connection,
    name: str = "tenant",
    *,
    key: str | None = None,
    scopes: tuple[str, ...] = api_keys.SCOPES,
    requests_per_minute: int = 1_000_000,
    pepper: int = 1,
    tenant_id: UUID | None = None,
) -> Caller:
    """Return the caller of a new tenant with one key, which has every scope by default."""
    caller = Caller(tenant_id or uuid4(), uuid4(), frozenset(scopes), requests_per_minute)
    secret = settings().key_peppers[pepper].get_secret_value()
    admin.execute(
        "insert into app.tenants (id, name, requests_per_minute) values (%s, %s, %s)",
        (caller.tenant_id, name, requests_per_minute),
    )
    admin.execute(
        "insert into app.api_keys (tenant_id, id, name, digest, pepper_version, prefix,"
        " last_four, scopes) values (%s, %s, 'test', %s, %s, 'map_live_', 'test', %s)",
        (
            caller.tenant_id,
            caller.key_id,
            api_keys.digest(key or api_keys.generate(), secret),
            pepper,
            list(scopes),
        ),
    )
    return caller


def query_names() -> list[str]:
    """Return the names of all query files."""
    folder = queries.SQL / "queries"
    return sorted(str(file.relative_to(folder).with_suffix("")) for file in folder.rglob("*.sql"))


def numbered(query: str) -> str:
    """Return a query's text as Postgres logs it: `$1` for the first name in it, and so on."""
    numbers: dict[str, int] = {}
    return re.sub(
        r"%\((\w+)\)s",
        lambda match: f"${numbers.setdefault(match[1], len(numbers) + 1)}",
        queries.load(query).decode(),
    )
