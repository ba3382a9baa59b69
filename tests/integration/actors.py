"""Who acts in the tests of the audit log, and what the log has of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from local import backends
from mini_agent.identity.callers import Caller
from tests.databases import Connection, connect
from tests.events import Answer
from tests.integration.client import Client

ADDRESS = "192.0.2.1"


Entry = tuple[str, str, dict[str, Any] | None, dict[str, Any] | None]
"""Of an entry: action, target's id, before, after."""


@dataclass(frozen=True)
class Actors:
    """A tenant's client, an operator, and the superuser, who sees what they did."""

    client: Client
    operator: Caller
    admin: Connection
    server: backends.Server
    monkeypatch: pytest.MonkeyPatch

    @property
    def tenant(self) -> Caller:
        assert self.client.caller
        return self.client.caller

    def does(self, method: str, path: str, body: object = None) -> tuple[Answer, list[Entry]]:
        """Return the answer to a tenant's request, and what the log tells of it."""
        with self._watched() as seen:
            answer = self.client(method, path, body)
        request = answer.headers["x-request-id"]
        return answer, [self._by("key", self.tenant, request, e) for e in seen]

    def writes(self, sql: str, *parameters: object, as_operator: bool = False) -> list[Entry]:
        """Return what the log tells of a statement that only a room of its own sends."""
        caller = self.operator if as_operator else self.tenant
        role, entry = ("map_operator", "operator") if as_operator else ("map_api", "tenant")
        with self._watched() as seen, connect(self.server, role) as conn, conn.transaction():
            conn.execute(
                f"select app.enter_{entry}(%s, %s, 'request', %s)".encode(),
                (caller.tenant_id, caller.key_id, ADDRESS),
            )
            conn.execute(sql.encode(), parameters)
        return [self._by("operator" if as_operator else "key", caller, "request", e) for e in seen]

    @contextmanager
    def _watched(self) -> Iterator[list[dict[str, Any]]]:
        """Yield a list that holds the block's entries once it is over, in their order."""
        [begin] = self.admin.execute("select clock_timestamp()").fetchone() or [None]
        seen: list[dict[str, Any]] = []
        yield seen
        seen += [
            entry
            for (entry,) in self.admin.execute(
                "select to_jsonb(l) from app.audit_log l where tenant_id <> %s"
                " and created_at between %s and clock_timestamp() order by created_at",
                (self.operator.tenant_id, begin),
            )
        ]

    @staticmethod
    def _by(actor: str, caller: Caller, request: str, entry: dict[str, Any]) -> Entry:
        who = (entry["actor"], entry["key_id"], entry["address"], entry["request_id"])
        assert who == (actor, str(caller.key_id), ADDRESS, request)
        assert entry["action"].partition(".")[0] == entry["target_type"]
        return entry["action"], entry["target_id"], entry["before"], entry["after"]
