"""Brings the database to the schema of this code: roles, migrations, and the local profile's seed.

A deployment calls it as a CloudFormation custom resource, so that a failure rolls the stack back;
`make run` and people call it with an empty event. Each file of `sql/migrations` is applied once, in
the order of their names, in a transaction of its own, under a lock, and is remembered with its
checksum: a file that was edited after it was applied is refused.
"""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
    """The database cannot be brought to this schema; the message says why and what to do."""


class NewerDatabaseError(MigrationError):
    """The database has migrations that this code does not know."""


@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Apply what is missing and return the versions applied now.

    With `{"bootstrap": name}`, make an operator's key of this name instead, and return it.
    """
    if "ResponseURL" in event:
        custom_resource.respond(event, lambda: {"Applied": ", ".join(_deploy())})
        return {}
    if name := event.get("bootstrap"):
        with _connect(settings().database_user) as migrator:
            return bootstrap.make(migrator, name)
    return {"applied": run()}


def _deploy() -> list[str]:
    """Bring the database up to date; leave one alone that newer code has left behind.

    CloudFormation asks the former code again while it rolls back, and a refusal would stop it
    half-way. That code runs on the newer schema, as it did during the deployment.
    """
    _await_database()
    try:
        return run()
    except NewerDatabaseError as error:
        logger.warning(str(error))
        return []


def _await_database() -> None:
    """Wait until the database takes connections: a new proxy is there before its targets are."""
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
    """Bring the database up to date and return the versions applied now; raises MigrationError."""
    s = settings()
    with _connect(s.database_admin_user) as admin:
        admin.execute((queries.SQL / "bootstrap.sql").read_bytes())
    with _connect(s.database_user) as migrator:
        applied = migrate(migrator, queries.SQL / "migrations")
    if s.profile == "local":
        with _connect(s.database_admin_user) as admin:
            _seed(admin)
    logger.info("database is up to date", extra={"applied": applied})
    return applied


def migrate(conn: Connection, folder: Path) -> list[str]:
    """Apply the files of a folder that the ledger lacks; return their versions."""
    applied = []
    files = sorted(folder.glob("*.sql"))
    with conn.transaction():  # else it would open one around all those below
        _refuse_unknown(conn, {file.stem for file in files})
    for file in files:
        with conn.transaction():
            conn.execute("set local role map_owner")
            if _is_missing(conn, file):
                _apply(conn, file)
                applied.append(file.stem)
    return applied


def _is_missing(conn: Connection, file: Path) -> bool:
    """Tell whether to apply a file, holding the ledger until the transaction ends."""
    conn.execute("lock table app.migrations in exclusive mode")
    known = conn.execute(
        "select checksum from app.migrations where version = %s", (file.stem,)
    ).fetchone()
    if known and known[0] != _checksum(file):
        raise MigrationError(
            f"{file.name} was edited after it had been applied to this database; "
            "restore it and put the change into a new file"
        )
    return known is None


def _apply(conn: Connection, file: Path) -> None:
    try:
        conn.execute(file.read_bytes())
    except psycopg.Error as error:
        raise MigrationError(f"{file.name}: {error}") from error
    conn.execute("set local role map_owner")
    conn.execute(
        "insert into app.migrations (version, checksum) values (%s, %s)",
        (file.stem, _checksum(file)),
    )
    logger.info("migration applied", extra={"version": file.stem})


def _refuse_unknown(conn: Connection, versions: set[str]) -> None:
    rows = conn.execute("select version from app.migrations").fetchall()
    if unknown := sorted({version for (version,) in rows} - versions):
        raise NewerDatabaseError(
            f"this database has migrations that this code does not know ({', '.join(unknown)}); "
            "deploy the newer code, or restore the database to its state before it"
        )


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
