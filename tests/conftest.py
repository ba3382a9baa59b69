"""A real Postgres and a real Redis, migrated once a session, emptied before each test that asks."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest
from redis import Redis

# Before Powertools and the rooms are imported: they read these as they load.
os.environ |= {
    "POWERTOOLS_SERVICE_NAME": "test",
    "POWERTOOLS_METRICS_NAMESPACE": "Test",
    "MAP_PROFILE": "aws",
    "MAP_KEY_PEPPERS": '{"1": "first pepper", "2": "second pepper"}',
}

from functions.migrate import app as migrate
from local import backends
from mini_agent.data import db, redis_client
from mini_agent.identity import api_keys
from mini_agent.identity.callers import Caller
from mini_agent.settings import settings
from tests import databases

pytest_plugins = ["tests.scheduling"]
Connection = databases.Connection
TABLES = (
    "app.execution_steps, app.executions, app.idempotency_keys, app.secrets, app.agent_tools,"
    " app.agents, app.tools, app.daily_usage, app.audit_log, app.api_keys, app.tenants"
)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def postgres(data: Path) -> Iterator[backends.Server]:
    """A migrated database whose log tells every statement; MAP_* name it."""
    log = {"log_statement": "all", "log_line_prefix": "%u ", "fsync": "off"}
    room = {"max_connections": "250"}  # for the tests' 200 sandboxes and themselves
    with backends.postgres(data / "postgres", log | room) as server:
        backends.create_database(server)
        with pytest.MonkeyPatch.context() as env:
            env.setenv("MAP_DATABASE_HOST", server.socket)
            env.setenv("MAP_DATABASE_USER", "map_migrator")
            settings.cache_clear()
            migrate.run()
            env.setenv("MAP_DATABASE_USER", "map_api")
            settings.cache_clear()
            yield server
            db.close()
        settings.cache_clear()


@pytest.fixture(scope="session")
def redis_server(data: Path) -> Iterator[backends.Server]:
    """A Redis; MAP_REDIS_URL names it."""
    with backends.redis(data / "redis") as server, pytest.MonkeyPatch.context() as env:
        env.setenv("MAP_REDIS_URL", f"unix://{server.socket}")
        settings.cache_clear()
        yield server
        redis_client.close()
    settings.cache_clear()


@pytest.fixture(scope="session")
def admin(postgres: backends.Server) -> Iterator[Connection]:
    """The superuser's connection, past every policy."""
    with psycopg.connect(
        host=postgres.socket, dbname="map", user="postgres", autocommit=True
    ) as conn:
        yield conn


@pytest.fixture
def clean(admin: Connection, redis_server: backends.Server) -> None:
    """Nothing in the database, nothing in Redis, no breaker open."""
    admin.execute(f"truncate {TABLES}")
    with Redis(unix_socket_path=redis_server.socket) as redis:
        redis.flushall()
    redis_client._open_until = 0.0


MakeTenant = Callable[..., Caller]


@pytest.fixture
def make_tenant(clean: None, admin: Connection) -> MakeTenant:
    """Return what makes a tenant: see `databases.new_tenant`."""
    return partial(databases.new_tenant, admin)


@pytest.fixture
def operator(make_tenant: MakeTenant) -> Caller:
    """An operator: the key of the platform's own tenant."""
    return make_tenant(
        "Platform",
        tenant_id=api_keys.PLATFORM,
        scopes=(api_keys.OPERATOR_SCOPE, "audit:read", "keys:write"),
    )


@pytest.fixture
def tenant(make_tenant: MakeTenant) -> Caller:
    return make_tenant("A")


@pytest.fixture
def stranger(make_tenant: MakeTenant) -> Caller:
    return make_tenant("B")
