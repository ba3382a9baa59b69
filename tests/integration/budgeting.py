"""Budgets of a tenant: limits, and the ledger as Postgres and Redis have it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from redis import Redis

from functions.runs.engine.records import BudgetLedger
from mini_agent.data import db
from tests.conftest import Connection
from tests.integration.running import Runs

OUTPUT = 100
"""Tokens of a short answer: fewer than a grant is cut down to."""
SHORT = {"max_tokens": OUTPUT}


def limit(admin: Connection, **limits: object) -> None:
    """Give all tenants limits, as if they had had them for long."""
    for name, value in limits.items():
        admin.execute(f"update app.tenants set {name} = %s".encode(), (value,))
    admin.execute(
        "update app.tenants set budgeted_since = budgeted_since - interval '1 hour'"
        " where budgeted_since > now() - interval '1 minute'"
    )


def tomorrow() -> str:
    day = datetime.now(UTC).replace(hour=0, minute=0, second=0) + timedelta(days=1)
    return day.strftime("%Y-%m-%dT%H:%M:%SZ")


def next_month() -> str:
    day = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0) + timedelta(days=32)
    return day.replace(day=1).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Ledgers:
    """The ledgers of one tenant."""

    runs: Runs
    admin: Connection
    redis: Redis

    @property
    def key(self) -> str:
        """The key of the ledger in Redis."""
        assert self.runs.client.caller
        return f"budget:{{{self.runs.client.caller.tenant_id}}}"

    def limit(self, **limits: object) -> None:
        limit(self.admin, **limits)

    def bound(self) -> tuple[int, Decimal]:
        """Return the tokens and dollars that a run's first call may use; the run is forgotten."""
        assert self.runs.post().status == 200
        [row] = self.admin.execute(
            "select reserved_tokens, reserved_usd from app.execution_steps where number = 1"
        ).fetchall()
        self.forget_runs()
        return row

    def forget_runs(self) -> None:
        self.admin.execute("truncate app.execution_steps, app.executions")

    def count(self, table: str) -> int:
        return self.admin.execute(f"select from app.{table}".encode()).rowcount

    def in_postgres(self) -> BudgetLedger:
        assert self.runs.client.caller
        query = db.Query("runs/get_budget_ledger", {}, BudgetLedger)
        [ledger] = db.read(self.runs.client.caller, query)
        return ledger

    def in_redis(self) -> dict[str, str]:
        return {str(name): str(value) for name, value in self.redis.hgetall(self.key).items()}

    def end_leases(self) -> None:
        """Let so much time pass that every lease is over."""
        self.admin.execute("update app.executions set lease_until = lease_until - interval '1 day'")
        calls: list[Any] = list(self.redis.zrange(f"{self.key}:calls", 0, -1))
        for call in calls:
            self.redis.zincrby(f"{self.key}:calls", -86_400, call)

    def assert_agree(self) -> None:
        """Usage is the same in both, and nothing is reserved."""
        theirs, ours = self.in_postgres(), self.in_redis()
        assert theirs.pending_calls == []
        assert (int(ours["tokens"]), int(ours["nano"])) == (theirs.tokens, int(theirs.usd * 10**9))
        assert (ours["reserved_tokens"], ours["reserved_nano"]) == ("0", "0")
        assert not [name for name in ours if ":" in name]
        assert not self.redis.exists(f"{self.key}:calls")
