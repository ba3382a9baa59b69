"""Brings the database to the schema of this code: roles, functions, migrations, the local seed.

A deployment calls it as a CloudFormation custom resource, so that a failure rolls the stack back;
`make run` and people call it with an empty event. How migrations and stored functions are written,
and why they are applied in this order: `docs/decisions/0020-stored-functions.md`.
"""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.migrate import bootstrap, custom_resource
from mini_agent.data import db, queries
from mini_agent.identity import api_keys
from mini_agent.identity.peppers import peppers
from mini_agent.settings import settings
from mini_agent.telemetry import logger

Connection = psycopg.Connection[tuple[Any, ...]]

PATIENCE_SECONDS = 300
PAUSE_SECONDS = 5


class MigrationError(Exception):
    """The database cannot be migrated; the message says why and what to do."""


class NewerDatabaseError(MigrationError):
    """The database has migrations that this code does not know."""


@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Apply what is new and return its names.

    With `{"bootstrap": name}`, create an operator's key of this name instead, and return it.
    """
    if "ResponseURL" in event:
        custom_resource.respond(event, lambda: {"Applied": ", ".join(_deploy())})
        return {}
    if name := event.get("bootstrap"):
        with _connect(settings().database_user) as migrator:
            return bootstrap.make(migrator, name)
    return {"applied": run()}


def _deploy() -> list[str]:
    """Bring the database up to date; leave a database of newer code as it is.

    CloudFormation calls the former code again while it rolls back, and an error would stop the
    rollback half-way. The former code runs on the newer schema, as it did during the deployment.
    """
    _await_database()
    try:
        return run()
    except NewerDatabaseError as error:
        logger.warning(str(error))
        return []


def _await_database() -> None:
    """Wait until the database accepts connections: a new proxy is ready before its targets are."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with _connect(settings().database_admin_user):
                return
        except psycopg.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(PAUSE_SECONDS)


def run() -> list[str]:
    """Bring the database up to date and return the names of what was new; raises MigrationError."""
    s = settings()
    with _connect(s.database_admin_user) as admin:
        admin.execute((queries.SQL / "bootstrap.sql").read_bytes())
    with _connect(s.database_user) as migrator:
        applied = migrate(migrator, queries.SQL)
    if s.profile == "local":
        with _connect(s.database_admin_user) as admin:
            _seed(admin)
    logger.info("database is up to date", extra={"applied": applied})
    return applied


def migrate(conn: Connection, folder: Path) -> list[str]:
    """Apply what is new in a folder, all of it or nothing; return the names of it.

    New are migrations that the ledger lacks, and functions whose text has changed. Raises
    MigrationError for a migration that was edited, NewerDatabaseError for one that is not known.
    """
    migrations = sorted((folder / "migrations").glob("*.sql"))
    functions = sorted((folder / "functions").glob("*/*.sql"))
    with conn.transaction():
        conn.execute("set local role map_owner")
        conn.execute("lock table app.migrations in exclusive mode")
        new_migrations = _new_migrations(conn, migrations)
        new_functions = _new_functions(conn, functions)
        # Tables rely on functions, and functions on tables: bodies are checked once both are there.
        _create(conn, new_functions, check_bodies=False)
        for file in new_migrations:
            _execute(conn, file)
            conn.execute(
                "insert into app.migrations (version, checksum) values (%s, %s)",
                (file.stem, _checksum(file)),
            )
        if new_migrations or new_functions:
            _create(conn, functions, check_bodies=True)
            _note_functions(conn, functions)
    return [_name(file) for file in (*new_migrations, *new_functions)]


def _new_migrations(conn: Connection, files: list[Path]) -> list[Path]:
    """Return the migrations that the ledger lacks; raises MigrationError if it tells of others."""
    known = _ledger(conn, "select version, checksum from app.migrations")
    if unknown := sorted(known.keys() - {file.stem for file in files}):
        raise NewerDatabaseError(
            f"this database has migrations that this code does not know ({', '.join(unknown)}); "
            "deploy the newer code, or restore the database to its state before it"
        )
    for file in files:
        if known.get(file.stem, _checksum(file)) != _checksum(file):
            raise MigrationError(
                f"{file.name} was edited after it had been applied to this database; "
                "restore it and put the change into a new file"
            )
    return [file for file in files if file.stem not in known]


def _new_functions(conn: Connection, files: list[Path]) -> list[Path]:
    known = _ledger(conn, "select name, checksum from app.functions")
    return [file for file in files if known.get(_name(file)) != _checksum(file)]


def _ledger(conn: Connection, query: LiteralString) -> dict[str, bytes]:
    return dict(conn.execute(query).fetchall())


def _create(conn: Connection, functions: list[Path], *, check_bodies: bool) -> None:
    """Create or replace functions; a file may begin with the role that is to own its function."""
    conn.execute("grant create on schema app to map_keyring, map_janitor")
    for file in functions:
        conn.execute(f"set local check_function_bodies = {check_bodies}")
        _execute(conn, file)
    conn.execute("revoke create on schema app from map_keyring, map_janitor")


def _execute(conn: Connection, file: Path) -> None:
    try:
        conn.execute(file.read_bytes())
    except psycopg.Error as error:
        raise MigrationError(f"{file.name}: {error}") from error
    conn.execute("set local role map_owner")


def _note_functions(conn: Connection, files: list[Path]) -> None:
    """Make the ledger name the functions of these files, and no other."""
    noted = {_name(file): _checksum(file) for file in files}
    conn.execute("delete from app.functions where name <> all (%s)", (list(noted),))
    conn.execute(
        """
        insert into app.functions as f (name, checksum)
        select * from unnest(%s::text[], %s::bytea[])
        on conflict (name) do update set checksum = excluded.checksum, applied_at = now()
        where f.checksum <> excluded.checksum
        """,
        (list(noted), list(noted.values())),
    )


def _name(file: Path) -> str:
    """Return a migration's version, or a function's topic and name."""
    return file.stem if file.parent.name == "migrations" else f"{file.parent.name}/{file.stem}"


def _checksum(file: Path) -> bytes:
    return hashlib.sha256(file.read_bytes()).digest()


def _seed(admin: Connection) -> None:
    version, pepper = max(peppers().items())
    digests = {
        parameter: api_keys.digest(key, pepper) for key, parameter in api_keys.DEMO_KEYS.items()
    }
    admin.execute(
        (queries.SQL / "seed" / "local.sql").read_bytes(),
        {"pepper_version": version, "scopes": list(api_keys.SCOPES)} | digests,
    )


@contextmanager
def _connect(user: str) -> Iterator[Connection]:
    with psycopg.connect(**db.connection_parameters(user)) as conn:
        yield conn
