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
FUNCTIONS = sorted(
    f"{file.parent.name}/{file.stem}" for file in (queries.SQL / "functions").glob("*/*.sql")
)


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
    """The migrate function's own connection to a migrated database."""
    migrate.run()
    with migrate._connect("map_migrator") as conn:
        yield conn


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the migrations and functions."""
    return Path(shutil.copytree(queries.SQL, tmp_path / "sql"))


def ledger(admin: Connection) -> list[str]:
    """Return what was applied: migrations, then functions."""
    return [
        name
        for query in ("select version from app.migrations", "select name from app.functions")
        for (name,) in sorted(admin.execute(query.encode()).fetchall())
    ]


def exists(admin: Connection, table: str) -> bool:
    return admin.execute("select to_regclass(%s) is not null", (table,)).fetchone() == (True,)


def test_each_migration_and_function_is_applied_once(empty: Connection) -> None:
    assert migrate.handler({}, Context()) == {"applied": [*VERSIONS, *FUNCTIONS]}
    assert ledger(empty) == [*VERSIONS, *FUNCTIONS]
    assert exists(empty, "app.executions")
    assert migrate.handler({}, Context()) == {"applied": []}


def test_of_two_runs_at_once_one_applies_everything(empty: Connection) -> None:
    together = threading.Barrier(2)

    def run() -> list[str]:
        together.wait()
        return migrate.run()

    with ThreadPoolExecutor(2) as pool:
        applied = [future.result() for future in [pool.submit(run), pool.submit(run)]]
    assert sorted(applied) == [[], ledger(empty)]


def test_a_new_migration_is_applied_to_a_database_that_has_the_others(
    migrator: Connection, empty: Connection, folder: Path
) -> None:
    more = "create table app.more (id uuid primary key);"
    (folder / "migrations/9000_more.sql").write_text(more)
    assert migrate.migrate(migrator, folder) == ["9000_more"]
    assert exists(empty, "app.more")
    owner = "select tableowner from pg_tables where tablename = 'more'"
    assert empty.execute(owner).fetchone() == ("map_owner",)


def test_an_edited_migration_is_refused_and_nothing_else_is_applied(
    migrator: Connection, empty: Connection, folder: Path
) -> None:
    edited = folder / f"migrations/{VERSIONS[1]}.sql"
    edited.write_text(edited.read_text() + "-- a word more\n")
    (folder / "migrations/9000_more.sql").write_text("create table app.more ();")
    with pytest.raises(migrate.MigrationError, match=rf"{edited.name} was edited.*restore it"):
        migrate.migrate(migrator, folder)
    assert not exists(empty, "app.more")


def test_a_database_of_newer_code_is_refused_and_keeps_its_functions(
    migrator: Connection, empty: Connection, folder: Path
) -> None:
    (folder / f"migrations/{VERSIONS[-1]}.sql").unlink()
    (folder / "functions/tenants/answer.sql").write_text(ANSWER.format("int", 1))
    with pytest.raises(migrate.MigrationError, match=rf"{VERSIONS[-1]}.*deploy the newer code"):
        migrate.migrate(migrator, folder)
    assert ledger(empty) == [*VERSIONS, *FUNCTIONS]


def test_a_migration_that_fails_leaves_no_trace_of_its_run(
    migrator: Connection, empty: Connection, folder: Path
) -> None:
    (folder / "migrations/9000_good.sql").write_text("create table app.good ();")
    bad = folder / "migrations/9001_bad.sql"
    bad.write_text("create table app.half (); select 1 / 0;")
    (folder / "functions/tenants/answer.sql").write_text(ANSWER.format("int", 1))
    with pytest.raises(migrate.MigrationError, match=r"9001_bad\.sql: division by zero"):
        migrate.migrate(migrator, folder)
    assert not exists(empty, "app.good")
    assert ledger(empty) == [*VERSIONS, *FUNCTIONS]
    bad.write_text("create table app.half ();")
    assert migrate.migrate(migrator, folder) == ["9000_good", "9001_bad", "tenants/answer"]


def test_a_migration_cannot_do_what_only_an_administrator_may(
    migrator: Connection, folder: Path
) -> None:
    (folder / "migrations/9000_role.sql").write_text("create role intruder superuser login;")
    with pytest.raises(migrate.MigrationError, match="permission denied"):
        migrate.migrate(migrator, folder)


# ── Stored functions ─────────────────────────────────────────────────────────────────────────────

ANSWER = "create or replace function app.answer() returns {} language sql as $$select {}$$"


def answer(admin: Connection) -> object:
    [found] = admin.execute("select app.answer()").fetchone() or [None]
    return found


def test_a_function_is_replaced_when_its_text_has_changed(
    migrator: Connection, empty: Connection, folder: Path
) -> None:
    file = folder / "functions/tenants/answer.sql"
    for n in (1, 2):
        file.write_text(ANSWER.format("int", n))
        assert migrate.migrate(migrator, folder) == ["tenants/answer"]
        assert migrate.migrate(migrator, folder) == []
        assert answer(empty) == n


def test_a_function_keeps_its_owner_and_is_not_everybodys_when_it_is_replaced(
    migrator: Connection, empty: Connection, folder: Path
) -> None:
    for file in (folder / "functions").glob("*/*.sql"):
        file.write_text(file.read_text() + "-- a word more\n")
    who = "select proname, proowner, proacl from pg_proc where pronamespace = 'app'::regnamespace"
    before = empty.execute(who).fetchall()
    assert migrate.migrate(migrator, folder) == FUNCTIONS
    assert sorted(empty.execute(who).fetchall()) == sorted(before)


def test_a_table_may_rely_on_a_function_and_a_function_on_a_table_of_the_same_run(
    migrator: Connection, empty: Connection, folder: Path
) -> None:
    (folder / "migrations/9000_more.sql").write_text(
        "create table app.numbers as select 7 as n;"
        "create table app.more (n int default app.answer());"
        "insert into app.more default values;"
    )
    (folder / "functions/tenants/answer.sql").write_text(ANSWER.format("int", "n from app.numbers"))
    assert migrate.migrate(migrator, folder) == ["9000_more", "tenants/answer"]
    assert empty.execute("select n from app.more").fetchall() == [(7,)]


def test_a_migration_cannot_take_away_what_a_function_reads(
    migrator: Connection, empty: Connection, folder: Path
) -> None:
    (folder / "migrations/9000_less.sql").write_text("alter table app.api_keys drop last_used_at")
    with pytest.raises(migrate.MigrationError, match=r"record_key_use\.sql.*last_used_at"):
        migrate.migrate(migrator, folder)


def test_a_changed_signature_takes_a_migration_that_drops_the_function(
    migrator: Connection, empty: Connection, folder: Path
) -> None:
    file = folder / "functions/tenants/answer.sql"
    file.write_text(ANSWER.format("int", 1))
    migrate.migrate(migrator, folder)
    file.write_text(ANSWER.format("text", "'1'"))
    with pytest.raises(migrate.MigrationError, match=r"answer\.sql: cannot change return type"):
        migrate.migrate(migrator, folder)
    file.unlink()
    file.with_name("answer_text.sql").write_text(
        ANSWER.format("text", "'1'").replace("answer", "answer_text")
    )
    (folder / "migrations/9000_drop.sql").write_text("drop function if exists app.answer();")
    assert migrate.migrate(migrator, folder) == ["9000_drop", "tenants/answer_text"]
    assert "tenants/answer" not in ledger(empty)


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
