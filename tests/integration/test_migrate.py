"""Migrations, each test in a database of its own."""

import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from psycopg import sql

from functions.authorizer import app as authorizer
from functions.migrate import app as migrate
from local import backends
from mini_agent.data import queries
from mini_agent.identity import api_keys
from tests.conftest import Connection
from tests.databases import configured, connect
from tests.events import Context

NAME = "map_empty"
VERSIONS = sorted(file.stem for file in (queries.SQL / "migrations").glob("*.sql"))


@pytest.fixture
def empty(postgres: backends.Server) -> Iterator[Connection]:
    """A new database, which the migrate function's settings name; the superuser's connection."""
    name = sql.Identifier(NAME)
    with connect(postgres, "postgres", "postgres") as server:
        server.execute(sql.SQL("create database {}").format(name))
        with (
            configured(database_name=NAME, database_user="map_migrator"),
            connect(postgres, "postgres", NAME) as admin,
        ):
            yield admin
        server.execute(sql.SQL("drop database {}").format(name))


@pytest.fixture
def migrator(empty: Connection) -> Iterator[Connection]:
    """The migrate function's own connection, all migrations applied."""
    migrate.run()
    with migrate._connect("map_migrator") as conn:
        yield conn


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the migrations."""
    return Path(shutil.copytree(queries.SQL / "migrations", tmp_path / "migrations"))


def ledger(admin: Connection) -> list[str]:
    """Return the versions applied, in the order they were."""
    rows = admin.execute("select version from app.migrations order by applied_at").fetchall()
    return [version for (version,) in rows]


def exists(admin: Connection, table: str) -> bool:
    return admin.execute("select to_regclass(%s) is not null", (table,)).fetchone() == (True,)


def test_every_migration_is_applied_once_in_the_order_of_names(empty: Connection) -> None:
    assert migrate.handler({}, Context()) == {"applied": VERSIONS}
    assert ledger(empty) == VERSIONS
    assert exists(empty, "app.executions")
    assert migrate.handler({}, Context()) == {"applied": []}
    assert ledger(empty) == VERSIONS


def test_of_two_runs_at_once_each_migration_is_applied_by_one(empty: Connection) -> None:
    together = threading.Barrier(2)

    def run() -> list[str]:
        together.wait()
        return migrate.run()

    with ThreadPoolExecutor(2) as pool:
        first, second = (future.result() for future in [pool.submit(run), pool.submit(run)])
    assert sorted(first + second) == VERSIONS == ledger(empty)


def test_a_new_file_is_applied_to_a_database_that_has_the_others(
    migrator: Connection, empty: Connection, folder: Path
) -> None:
    (folder / "9000_more.sql").write_text("create table app.more (id uuid primary key);")
    assert migrate.migrate(migrator, folder) == ["9000_more"]
    assert exists(empty, "app.more")
    owner = "select tableowner from pg_tables where tablename = 'more'"
    assert empty.execute(owner).fetchone() == ("map_owner",)


def test_an_edited_file_is_refused_and_nothing_after_it_is_applied(
    migrator: Connection, empty: Connection, folder: Path
) -> None:
    edited = folder / f"{VERSIONS[1]}.sql"
    edited.write_text(edited.read_text() + "-- a word more\n")
    (folder / "9000_more.sql").write_text("create table app.more ();")
    with pytest.raises(migrate.MigrationError, match=rf"{edited.name} was edited.*restore it"):
        migrate.migrate(migrator, folder)
    assert not exists(empty, "app.more")


def test_a_database_of_newer_code_is_refused(
    migrator: Connection, empty: Connection, folder: Path
) -> None:
    (folder / f"{VERSIONS[-1]}.sql").unlink()
    with pytest.raises(migrate.MigrationError, match=rf"{VERSIONS[-1]}.*deploy the newer code"):
        migrate.migrate(migrator, folder)
    assert ledger(empty) == VERSIONS


def test_a_migration_that_fails_leaves_no_trace_and_those_before_it_stay(
    migrator: Connection, empty: Connection, folder: Path
) -> None:
    (folder / "9000_good.sql").write_text("create table app.good ();")
    (folder / "9001_bad.sql").write_text("create table app.half (); select 1 / 0;")
    (folder / "9002_late.sql").write_text("create table app.late ();")
    with pytest.raises(migrate.MigrationError, match=r"9001_bad\.sql: division by zero"):
        migrate.migrate(migrator, folder)
    assert [exists(empty, f"app.{name}") for name in ("good", "half", "late")] == [
        *(True, False, False),
    ]
    assert ledger(empty) == [*VERSIONS, "9000_good"]
    (folder / "9001_bad.sql").write_text("create table app.half ();")
    assert migrate.migrate(migrator, folder) == ["9001_bad", "9002_late"]


def test_a_migration_cannot_do_what_only_an_administrator_may(
    migrator: Connection, folder: Path
) -> None:
    (folder / "9000_role.sql").write_text("create role intruder superuser login;")
    with pytest.raises(migrate.MigrationError, match="permission denied"):
        migrate.migrate(migrator, folder)


# ── The two tenants of the local profile ─────────────────────────────────────────────────────────


def owner(key: str) -> str | None:
    """Return the id of the tenant that a key belongs to."""
    with configured(database_user="map_authorizer"):
        caller = authorizer.identify([key])
    return str(caller.tenant_id) if caller else None


def test_the_local_profile_gets_two_tenants_with_the_keys_of_the_contract(
    empty: Connection,
) -> None:
    with configured(profile="local"):
        migrate.run()
        migrate.run()
        assert owner("tenant-a-key") == "11111111-1111-1111-1111-111111111111"
        assert owner("tenant-b-key") == "22222222-2222-2222-2222-222222222222"
        names = empty.execute("select name from app.tenants order by name").fetchall()
        assert names == [("A",), ("B",), ("Platform",)]
        scopes = empty.execute("select distinct scopes from app.api_keys").fetchall()
        assert scopes == [(list(api_keys.SCOPES),)]


def test_the_local_keys_follow_the_newest_pepper(empty: Connection) -> None:
    with configured(profile="local"):
        migrate.run()
    with configured(profile="local", key_peppers='{"3": "another"}'):
        migrate.run()
        assert owner("tenant-a-key") == "11111111-1111-1111-1111-111111111111"
    versions = empty.execute("select distinct pepper_version from app.api_keys").fetchall()
    assert versions == [(3,)]


def test_no_other_profile_gets_a_tenant_but_the_platforms_own(empty: Connection) -> None:
    migrate.run()
    assert empty.execute("select id from app.tenants").fetchall() == [(api_keys.PLATFORM,)]
    assert empty.execute("select count(*) from app.api_keys").fetchone() == (0,)
