"""Two sandboxes of two tenants share one connection to Postgres, as they may behind RDS Proxy."""

import itertools
import multiprocessing
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from functions.tools.models import Tool, ToolCreate
from local import backends
from mini_agent.data import db
from mini_agent.errors import DuplicateToolName
from mini_agent.identity.callers import Caller
from tests.conftest import MakeTenant
from tests.databases import Connection, configured, database_of_its_own, enter, new_tenant

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
PORT = 6432
TURNS = 10_000
ROUNDS = 1_500
NO_FILTER = {"name": None, "agent_name": None}
FIRST_PAGE = {"after_time": None, "after_id": None, "limit": 100, "offset": 0}

pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="PgBouncer is missing: apt-get install pgbouncer"
)


@dataclass(frozen=True)
class Total:
    total: int


@pytest.fixture(scope="module")
def pgbouncer(postgres: backends.Server) -> Iterator[backends.Server]:
    """PgBouncer with one connection to Postgres, which each transaction may get."""
    with tempfile.TemporaryDirectory(prefix="map-") as name:
        folder = Path(name)
        (folder / "users").write_text('"map_api" ""')
        (folder / "pgbouncer.ini").write_text(
            f"""
            [databases]
            * = host={postgres.socket}
            [pgbouncer]
            pool_mode = transaction
            default_pool_size = 1
            listen_addr =
            listen_port = {PORT}
            unix_socket_dir = {folder}
            auth_type = trust
            auth_file = {folder / "users"}
            """.replace("\n            ", "\n")
        )
        server = backends.Server(
            name="PgBouncer",
            socket=name,
            command=[
                *backends._without_root(),
                *backends.dies_with_parent(signal.SIGINT),
                str(PROGRAM),
                str(folder / "pgbouncer.ini"),
            ],
            is_ready=_answers,
            stop_signal=signal.SIGINT,
            log=folder / "log",
        )
        with server:
            yield server


def _answers(socket: str) -> bool:
    with suppress(psycopg.OperationalError):
        _client(socket).close()
        return True
    return False


def _client(socket: str, database: str = "map") -> Connection:
    return psycopg.connect(
        host=socket,
        port=PORT,
        user="map_api",
        dbname=database,
        autocommit=True,
        prepare_threshold=None,
    )


ROW = ToolCreate(name="tool", description="Search").model_dump()


def use_as(caller: Caller, tool: UUID, rounds: int) -> list[str]:
    """Read, write, fail, and read without a tenant, as a sandbox does; return what went wrong."""
    wrong = []
    listed = db.Query("tools/list", NO_FILTER | FIRST_PAGE, Tool)
    as_it_is = {"id": tool, "name": None, "new_parameters": False, "new_endpoint": False}
    changed = db.Query("tools/update", ROW | as_it_is, Tool)
    taken = db.Query("tools/create", ROW, Tool)
    refusals = {"tools_name_unique": DuplicateToolName()}
    for number in range(rounds):
        if [row.id for row in db.read(caller, listed)] != [tool]:
            wrong.append(f"{number}: foreign rows, or none")
        if number % 10 == 0 and db.call("tools/count", NO_FILTER, Total) != [Total(0)]:
            wrong.append(f"{number}: rows without a tenant")
        if number % 10 == 1 and [row.id for row in db.write(caller, changed)] != [tool]:
            wrong.append(f"{number}: another row changed, or none")
        if number % 10 == 2:
            with suppress(DuplicateToolName):
                db.write(caller, taken, refusals=refusals)
                wrong.append(f"{number}: a second tool of one name")
    return wrong


def turns(log: Path, start: int) -> int:
    """Return how often a transaction had another tenant than the one before."""
    with log.open("rb") as file:
        file.seek(start)
        tenants = re.findall(
            rb"enter_tenant\(\$1, \$2, \$3, \$4\)\n.*Parameters: \$1 = '(.*?)'", file.read()
        )
    return sum(before != after for before, after in itertools.pairwise(tenants))


def test_two_tenants_in_turn_on_one_connection_see_their_own_rows_only(
    postgres: backends.Server,
    pgbouncer: backends.Server,
    admin: Connection,
    make_tenant: MakeTenant,
) -> None:
    callers = [make_tenant("A"), make_tenant("B")]
    made = [db.write(c, db.Query("tools/create", ROW, Tool))[0].id for c in callers]
    start = postgres.log.stat().st_size
    with (
        configured(database_host=pgbouncer.socket, database_port=str(PORT)),
        ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as sandboxes,
    ):
        while turns(postgres.log, start) < TURNS:
            assert list(sandboxes.map(use_as, callers, made, [ROUNDS] * 2)) == [[], []]
        connections = admin.execute("select from pg_stat_activity where usename = 'map_api'")
        assert connections.rowcount == 1


@pytest.mark.parametrize(("only_this_transaction", "seen"), [("true", 0), ("false", 1)])
def test_the_next_client_sees_a_tenants_rows_only_if_the_tenant_outlives_its_transaction(
    postgres: backends.Server, pgbouncer: backends.Server, only_this_transaction: str, seen: int
) -> None:
    name = f"pooled_{only_this_transaction}"
    with database_of_its_own(postgres, name) as admin:
        [(source,)] = admin.execute(
            "select pg_get_functiondef('app.enter_tenant'::regproc)"
        ).fetchall()
        changed = source.replace("tenant::text, true)", f"tenant::text, {only_this_transaction})")
        admin.execute(changed)
        caller = new_tenant(admin)
        with _client(pgbouncer.socket, name) as one, _client(pgbouncer.socket, name) as other:
            with one.transaction():
                enter(one, caller)
                one.execute("insert into app.tools (name, description) values ('t', 'd')")
            assert other.execute("select from app.tools").rowcount == seen
