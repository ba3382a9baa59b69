"""Postgres: one connection a sandbox, one transaction a request, entered as the caller's tenant.

    [tool] = db.read(caller, db.Query("tools/get", {"id": tool_id}, Tool))
    [tool] = db.write(caller, db.Query("tools/create", fields, Tool))

    with db.Transaction() as transaction:  # every read and write in this block belongs to it
        db.write(caller, db.Query("tools/create", fields, Tool))
        transaction.commit(caller, db.Query("idempotency/store_response", answer, Stored))

A query that calls a stored function is read or written like any other. A read costs one round trip,
since its statements go out in one pipeline, and a write one more for its COMMIT. Nothing here
leaves state in a session (no SET, no named statement), so RDS Proxy can give each transaction
another connection.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Self, TypeVar, overload

import psycopg
from psycopg.rows import class_row

from mini_agent.data import queries
from mini_agent.errors import ApiError, DeadlineExceeded, InvalidApiKey, ServiceUnavailable
from mini_agent.identity.callers import Caller, RunCaller
from mini_agent.settings import Settings, settings
from mini_agent.telemetry import count, logger

if Settings().database_auth == "iam":
    # Slow to load, and only needed on AWS, where SnapStart's snapshot includes the imports.
    import mini_agent.data.aws_auth  # noqa: F401 - loaded, not used yet

Row = TypeVar("Row")
OtherRow = TypeVar("OtherRow")
Result = TypeVar("Result")

CONNECT_SECONDS = 3
NOT_ACTIVE = {"MAP01", "MAP02"}  # raised by app.enter_tenant and app.enter_run
LOST_STATES = ("08", "57P0", "25006")  # gone, shut down, or a former writer after a failover
TIMEOUT_STATES = {"57014", "55P03"}  # statement_timeout, lock_timeout

Connection = psycopg.Connection[Any]
_connection: Connection | None = None


class ConnectionLost(ServiceUnavailable):
    """The connection is gone, and with it whatever was not committed."""


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
    caller: Caller | RunCaller, query: Query[Row], other: Query[OtherRow], /
) -> tuple[list[Row], list[OtherRow]]: ...
def read(caller: Caller | RunCaller, *statements: Query[Any]) -> Any:
    """Return the rows of one query, or of two that see the same moment, as the caller's tenant.

    Raises InvalidApiKey if the key has been revoked, or the run's tenant suspended, since the
    request was admitted; ServiceUnavailable without a database; DeadlineExceeded after one of the
    database's own timeouts.
    """
    transaction = Transaction.current()
    if transaction and not transaction.has_failed:
        rows = transaction.run(caller, *statements)
    else:
        rows = _retry_if_lost(lambda conn: _send(conn, caller, statements))
    return rows[0] if len(rows) == 1 else tuple(rows)


def write(
    caller: Caller | RunCaller,
    *statements: Query[Row],
    refusals: Mapping[str, ApiError] | None = None,
) -> list[Row]:
    """Run statements in one transaction as the caller's tenant; return the last one's rows.

    They are committed on return, unless they belong to an open `Transaction`. `refusals` maps the
    name of a constraint to the error that its violation means. Also raises what `read` raises.
    """
    transaction = Transaction.current()
    with _refused(refusals):
        if transaction:
            return transaction.run(caller, *statements)[-1]
        return Transaction().commit(caller, *statements)


def write_repeatable(
    caller: Caller | RunCaller,
    statement: Query[Row],
    refusals: Mapping[str, ApiError] | None = None,
) -> list[Row]:
    """Commit one statement that may run twice with the effect of once; return its rows.

    The statement enters the caller's tenant itself, with the parameters of `caller.identity()`. So
    it goes out alone, in one round trip, and where the connection turns out lost it is sent again.
    Otherwise like `write`.
    """
    parameters = {**statement.parameters, **caller.identity()}
    query = Query(statement.name, parameters, statement.row)
    with _refused(refusals):
        if Transaction.current():
            return write(caller, query)
        return call(query.name, query.parameters, query.row)


@contextmanager
def _refused(refusals: Mapping[str, ApiError] | None) -> Iterator[None]:
    """Raise the error that stands for a violated constraint."""
    try:
        yield
    except psycopg.IntegrityError as error:
        refusal = (refusals or {}).get(error.diag.constraint_name or "")
        raise (refusal or error) from error


def first(rows: list[Row], missing: ApiError) -> Row:
    """Return the first of the rows; raises `missing` where there is none."""
    if not rows:
        raise missing
    return rows[0]


def after_commit(work: Callable[[], object]) -> None:
    """Do what must not precede the effect: now, or once the open transaction has committed."""
    if transaction := Transaction.current():
        transaction.after_commit.append(work)
    else:
        work()


def call(name: str, parameters: Mapping[str, Any], row: type[Row]) -> list[Row]:
    """Return the rows of a query that needs no tenant (the authorizer's, the sweep's, a ping)."""

    def execute(conn: Connection) -> list[Row]:
        with _errors_translated(conn):
            cursor = conn.cursor(row_factory=class_row(row))
            return cursor.execute(queries.load(name), parameters).fetchall()

    return _retry_if_lost(execute)


class Transaction:
    """Reads and writes that take effect together, at `commit`, or not at all.

    In a `with` block it is this context's open transaction, which `read`, `write` and
    `after_commit` join. BEGIN goes out with the first statement. After a failure nothing has had
    an effect, further writes are refused, and reads run on their own.
    """

    _open: ClassVar["ContextVar[Transaction | None]"] = ContextVar("transaction", default=None)

    def __init__(self) -> None:
        self.has_failed = False
        self.after_commit: list[Callable[[], object]] = []
        self._conn: Connection | None = None

    @classmethod
    def current(cls) -> "Transaction | None":
        """Return this context's open transaction."""
        return cls._open.get()

    def __enter__(self) -> Self:
        self._token: Token[Transaction | None] = self._open.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.reset(self._token)
        if self._conn and not self.has_failed:
            _roll_back(self._conn)

    def run(
        self, caller: Caller | RunCaller, *statements: Query[Any], commit: bool = False
    ) -> list[list[Any]]:
        """Return the rows of each statement; `commit` adds no round trip to a begun transaction.

        Raises RuntimeError if the transaction has failed before.
        """
        if self.has_failed:
            raise RuntimeError("The transaction has failed: nothing more can be written in it")
        try:
            if self._conn:
                rows = _send(self._conn, caller, statements, commit=commit)
            else:
                self._conn, rows = _retry_if_lost(
                    lambda conn: (conn, _send(conn, caller, statements, begin=True))
                )
                if commit:
                    # Never repeated: once COMMIT is out, nobody can tell whether it arrived.
                    with _errors_translated(self._conn):
                        self._conn.commit()
        except BaseException:
            self.has_failed = True
            raise
        return rows

    def commit(self, caller: Caller | RunCaller, *statements: Query[Row]) -> list[Row]:
        """Run the transaction's last statements, if any, and COMMIT; return the last one's rows."""
        rows: list[list[Row]] = self.run(caller, *statements, commit=True)
        self._conn = None
        for work in self.after_commit:
            work()
        return rows[-1] if rows else []


def _send(
    conn: Connection,
    caller: Caller | RunCaller,
    statements: tuple[Query[Any], ...],
    *,
    begin: bool = False,
    commit: bool = False,
) -> list[list[Any]]:
    """Return each statement's rows, after one round trip for all.

    Without BEGIN, a pipeline is one implicit transaction, so the entered tenant stays in force for
    the statements behind it. Whether RDS Proxy pins a session for a pipeline is not published: the
    metric to watch is in `docs/operations.md`, and only this function would have to change.
    """
    with _errors_translated(conn), conn.pipeline():
        if begin:
            conn.execute("BEGIN")
        conn.execute(*caller.entry_statement())
        cursors = [
            conn.cursor(row_factory=class_row(s.row)).execute(queries.load(s.name), s.parameters)
            for s in statements
        ]
        if commit:
            conn.execute("COMMIT")
    return [cursor.fetchall() if cursor.description else [] for cursor in cursors]


def _retry_if_lost(work: Callable[[Connection], Result]) -> Result:
    """Do work that has no effect before a COMMIT; once more if the connection turns out lost.

    A sandbox may have slept for minutes, and often learns that its connection is gone only when the
    next request uses it.
    """
    if _connection:
        with suppress(ConnectionLost):
            return work(_connection)
    return work(_connect())


def _connect() -> Connection:
    global _connection  # noqa: PLW0603 - the sandbox's one connection
    try:
        _connection = psycopg.connect(
            **connection_parameters(settings().database_user),
            connect_timeout=CONNECT_SECONDS,
            autocommit=True,
            prepare_threshold=None,
        )
    except psycopg.OperationalError as error:
        raise _connection_lost(error) from error
    return _connection


def connection_parameters(user: str) -> dict[str, Any]:
    """Return what `psycopg.connect` needs to sign a user in; an IAM token is good for one use."""
    s = settings()
    parameters = {
        "host": s.database_host,
        "port": s.database_port,
        "dbname": s.database_name,
        "user": user,
    }
    if s.database_auth == "none":
        return parameters
    from mini_agent.data import aws_auth  # noqa: PLC0415 - see above

    return parameters | {
        "password": aws_auth.database_token(s.database_host, s.database_port, user),
        "sslmode": "verify-full",
        "sslrootcert": str(aws_auth.ROOTS),
    }


def close() -> None:
    """Close the sandbox's connection; the next statement opens another."""
    global _connection  # noqa: PLW0603 - the sandbox's one connection
    if _connection:
        _connection.close()
    _connection = None


@contextmanager
def _errors_translated(conn: Connection) -> Iterator[None]:
    """Turn psycopg's errors into ours, and leave the connection without a transaction."""
    try:
        yield
    except BaseException as error:
        _roll_back(conn)
        if not isinstance(error, psycopg.Error):
            raise
        if conn.closed or (error.sqlstate or "").startswith(LOST_STATES):
            raise _connection_lost(error) from error
        if error.sqlstate in NOT_ACTIVE:
            raise InvalidApiKey from error
        if error.sqlstate in TIMEOUT_STATES:
            raise DeadlineExceeded from error
        raise


def _roll_back(conn: Connection) -> None:
    try:
        conn.rollback()
    except psycopg.Error:
        conn.close()


def _connection_lost(error: psycopg.Error) -> ConnectionLost:
    close()
    logger.warning("connection to the database lost", extra={"cause": str(error).strip()})
    count("DatabaseConnectionsLost")
    return ConnectionLost(reason="database")
