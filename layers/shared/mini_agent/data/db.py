"""The database: one connection a sandbox, a transaction a request, entered as the caller's tenant.

Statements of a transaction are known before it starts, so they go out together in one pipeline: a
read costs one round trip, a write one more for its COMMIT. Nothing here leaves state in a session
(no SET, no named statement), so RDS Proxy can give each transaction another connection.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

import psycopg
from psycopg.rows import class_row

from mini_agent.data import queries
from mini_agent.errors import ApiError, DeadlineExceeded, InvalidApiKey, ServiceUnavailable
from mini_agent.identity.callers import Caller, RunCaller
from mini_agent.settings import Settings, settings
from mini_agent.telemetry import count, logger

if Settings().database_auth == "iam":
    # Slow to load, and of use on AWS alone: into the snapshot that SnapStart takes of the imports.
    import mini_agent.data.aws_auth  # noqa: F401 - loaded, not used yet

Row = TypeVar("Row")
Other = TypeVar("Other")
Answer = TypeVar("Answer")

CONNECT_SECONDS = 3
NOT_ACTIVE = {"MAP01", "MAP02"}  # raised by app.enter_tenant and app.enter_run
LOST_STATES = ("08", "57P0", "25006")  # gone, shut down, or a former writer after a failover
GAVE_UP_STATES = ("57014", "55P03")  # statement_timeout, lock_timeout

Connection = psycopg.Connection[Any]
_connection: Connection | None = None
_joined: "Transaction | None" = None


class ConnectionLost(ServiceUnavailable):
    """The connection is gone; what was not committed has not happened."""


@dataclass(frozen=True, slots=True)
class Query(Generic[Row]):
    """A query file (`room/name`), its parameters, and the class that its rows load into."""

    name: str
    parameters: Mapping[str, Any]
    row: type[Row]


@overload
def read(caller: Caller | RunCaller, query: Query[Row], /) -> list[Row]: ...
@overload
def read(
    caller: Caller | RunCaller, query: Query[Row], other: Query[Other], /
) -> tuple[list[Row], list[Other]]: ...
def read(caller: Caller | RunCaller, *asked: Query[Any]) -> Any:
    """Return the rows of one query, or of two seen at one moment, as the caller's tenant.

    Raises InvalidApiKey if the key was revoked, or the run's tenant suspended, meanwhile,
    ServiceUnavailable without a database,
    DeadlineExceeded where the database gave up.
    """
    rows = _joined.send(caller, asked) if _joined else _alone(caller, asked)[1]
    return rows[0] if len(rows) == 1 else tuple(rows)


def write(
    caller: Caller | RunCaller,
    *statements: Query[Row],
    refusals: Mapping[str, ApiError] | None = None,
) -> list[Row]:
    """Run statements in one transaction as the caller's tenant; return the last one's rows.

    The transaction has ended when this returns, unless it is `joined`. `refusals` gives the error
    that a violated constraint means, by the constraint's name; besides, raises what `read` raises.
    """
    try:
        return _joined.change(caller, statements)[-1] if _joined else _written(caller, statements)
    except psycopg.IntegrityError as error:
        refusal = (refusals or {}).get(error.diag.constraint_name or "")
        raise (refusal or error) from error


def _written(caller: Caller | RunCaller, statements: tuple[Query[Row], ...]) -> list[Row]:
    conn, rows = _alone(caller, statements, begin=True)
    # Not repeated: once COMMIT is out, nobody can tell whether it arrived.
    _guarded(conn, lambda c: c.commit())
    return rows[-1]


def _alone(
    caller: Caller | RunCaller, statements: tuple[Query[Any], ...], *, begin: bool = False
) -> tuple[Connection, list[list[Any]]]:
    return _repeatable(lambda conn: (conn, _exchange(conn, caller, statements, begin=begin)))


def after_commit(work: Callable[[], object]) -> None:
    """Do what must not come before the effect: now, or once a joined transaction is through."""
    if _joined:
        _joined.afterwards.append(work)
    else:
        work()


class Transaction:
    """One transaction for several reads and writes; it begins with the first of them.

    A failure ends it without effect. Reads after that go alone; a write would be half an effect, so
    it is refused.
    """

    def __init__(self) -> None:
        self.afterwards: list[Callable[[], object]] = []
        self._conn: Connection | None = None
        self._failed = False

    def send(self, caller: Caller | RunCaller, asked: tuple[Query[Any], ...]) -> list[list[Any]]:
        """Return the rows of reads."""
        if self._failed:
            return _alone(caller, asked)[1]
        return self.change(caller, asked)

    def change(
        self, caller: Caller | RunCaller, statements: tuple[Query[Any], ...], *, end: bool = False
    ) -> list[list[Any]]:
        """Return the rows of writes, or of anything with a COMMIT behind it."""
        if self._failed:
            raise RuntimeError("the transaction that this belongs to has failed")
        conn = self._conn
        try:
            if conn:
                return _guarded(conn, lambda c: _exchange(c, caller, statements, end=end))
            self._conn, rows = _alone(caller, statements, begin=True)
        except BaseException:
            self._failed = True
            raise
        return rows

    def commit(self, caller: Caller | RunCaller, last: Query[Row]) -> list[Row]:
        """End the transaction with a last statement, one round trip for both; return its rows."""
        if self._conn or self._failed:
            [rows] = self.change(caller, (last,), end=True)
            self._conn = None
        else:
            rows = _written(caller, (last,))
        for work in self.afterwards:
            work()
        return rows

    def roll_back(self) -> None:
        """End the transaction without effect, unless it is over."""
        if self._conn and not self._failed:
            _leave_clean(self._conn)


@contextmanager
def joined() -> Iterator[Transaction]:
    """Let what reads and writes meanwhile share one transaction, which ends here at the latest."""
    global _joined  # noqa: PLW0603 - as is the sandbox's one request
    _joined = transaction = Transaction()
    try:
        yield transaction
    finally:
        _joined = None
        transaction.roll_back()


def call(name: str, parameters: Mapping[str, Any], row: type[Row]) -> list[Row]:
    """Return the rows of a query that belongs to no tenant (the authorizer's, a ping)."""
    return _repeatable(
        lambda conn: (
            conn.cursor(row_factory=class_row(row))
            .execute(queries.load(name), parameters)
            .fetchall()
        )
    )


def _exchange(
    conn: Connection,
    caller: Caller | RunCaller,
    statements: tuple[Query[Any], ...],
    *,
    begin: bool = False,
    end: bool = False,
) -> list[list[Any]]:
    """Send everything at once and collect the answers: one round trip.

    Without BEGIN, now or before, what is sent up to the pipeline's end is one implicit transaction,
    which keeps the entered tenant in force for the queries behind it. This is the one place that
    decides to use a pipeline: see `docs/operations.md` for the metric that shows whether RDS Proxy
    pins on it.
    """
    with conn.pipeline():
        if begin:
            conn.execute("BEGIN")
        conn.execute(*caller.entry())
        cursors = [
            conn.cursor(row_factory=class_row(s.row)).execute(queries.load(s.name), s.parameters)
            for s in statements
        ]
        if end:
            conn.execute("COMMIT")
    return [cursor.fetchall() if cursor.description else [] for cursor in cursors]


def _repeatable(work: Callable[[Connection], Answer]) -> Answer:
    """Run work that has no effect before COMMIT; once more if the connection turns out lost.

    A sandbox may have slept for minutes, so the first sign of a lost connection is often the next
    request's failure.
    """
    if _connection is not None:
        with suppress(ConnectionLost):
            return _guarded(_connection, work)
    return _guarded(_connect(), work)


def address(user: str) -> dict[str, Any]:
    """Return where the database is and how this user signs in, for `psycopg.connect`, once."""
    s = settings()
    where = {
        "host": s.database_host,
        "port": s.database_port,
        "dbname": s.database_name,
        "user": user,
    }
    if s.database_auth == "none":
        return where
    from mini_agent.data import aws_auth  # noqa: PLC0415 - see above

    return where | {
        "password": aws_auth.database_token(s.database_host, s.database_port, user),
        "sslmode": "verify-full",
        "sslrootcert": str(aws_auth.ROOTS),
    }


def _connect() -> Connection:
    global _connection  # noqa: PLW0603 - the sandbox's one connection
    try:
        _connection = psycopg.connect(
            **address(settings().database_user),
            connect_timeout=CONNECT_SECONDS,
            autocommit=True,
            prepare_threshold=None,
        )
    except psycopg.OperationalError as error:
        raise _lost(error) from error
    return _connection


def _guarded(conn: Connection, work: Callable[[Connection], Answer]) -> Answer:
    """Run work; whatever happens, leave the connection without a transaction, or drop it."""
    try:
        return work(conn)
    except BaseException as error:
        _leave_clean(conn)
        if not isinstance(error, psycopg.Error):
            raise
        if conn.closed or (error.sqlstate or "").startswith(LOST_STATES):
            raise _lost(error) from error
        if error.sqlstate in NOT_ACTIVE:
            raise InvalidApiKey from error
        if error.sqlstate in GAVE_UP_STATES:
            raise DeadlineExceeded from error
        raise


def _leave_clean(conn: Connection) -> None:
    try:
        conn.rollback()
    except psycopg.Error:
        conn.close()


def _lost(error: psycopg.Error) -> ConnectionLost:
    global _connection  # noqa: PLW0603 - the sandbox's one connection
    if _connection is not None:
        _connection.close()
    _connection = None
    logger.warning("connection to the database lost", extra={"cause": str(error).strip()})
    count("DatabaseConnectionsLost")
    return ConnectionLost(reason="database")
