"""The audit log under kill -9: no change without its entry, no entry without its change."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from random import Random
from threading import Event
from typing import Any
from uuid import uuid4

import httpx

from tests.contract.conftest import LocalStack
from tests.contract.tenants import add_tenant, admin
from tests.contract.test_faults import AGENTS, TOOLS, assert_our_shape, tool
from tests.waiting import until

WRITES_BETWEEN = 10
"""So many writes are acknowledged between one death and the next."""

Rows = dict[str, dict[str, Any]]


# ── What is written ──────────────────────────────────────────────────────────────────────────────


@dataclass
class Catalogue:
    """Ids of what all writers made, so that they meet at the same rows."""

    tools: list[str] = field(default_factory=list)
    agents: list[str] = field(default_factory=list)


@dataclass
class Writer:
    """Makes, changes and deletes until told to stop."""

    url: str
    keys: list[str]
    chance: Random
    all: Catalogue
    stop: Event
    requests: set[str] = field(default_factory=set)
    """Those that made something, and were told so."""
    statuses: Counter[int] = field(default_factory=Counter)

    def write(self) -> None:
        """Do one thing after the other, with one key after the other."""
        with httpx.Client(base_url=self.url, timeout=30) as client:
            for key in cycle(self.keys):
                if self.stop.is_set():
                    return
                client.headers["X-API-KEY"] = key
                # More is made than deleted.
                do = self.chance.choice([self._make, self._make, self._change, self._delete])
                do(client)

    def _make(self, client: httpx.Client) -> None:
        path, body, ids = self.chance.choice(
            [
                (TOOLS, tool(), self.all.tools),
                (AGENTS, tool() | {"role": "spy", "tool_ids": self._some()}, self.all.agents),
            ]
        )
        answer = self._send(client, "POST", path, body)
        if answer.status_code == 201:
            ids.append(answer.json()["id"])
            self.requests.add(answer.headers["x-request-id"])

    def _change(self, client: httpx.Client) -> None:
        path, ids, body = self.chance.choice(
            [
                (TOOLS, self.all.tools, {"name": str(uuid4())}),
                (AGENTS, self.all.agents, {"tool_ids": self._some()}),
                (AGENTS, self.all.agents, {"role": self.chance.choice(["spy", "cook"])}),
            ]
        )
        if ids:
            self._send(client, "PUT", f"{path}/{self._one(ids)}", body)

    def _delete(self, client: httpx.Client) -> None:
        path, ids = self.chance.choice([(TOOLS, self.all.tools), (AGENTS, self.all.agents)])
        if ids:
            self._send(client, "DELETE", f"{path}/{self._one(ids)}")

    def _one(self, ids: list[str]) -> str:
        return self.chance.choice(ids[-10:])

    def _some(self) -> list[str]:
        return list({self._one(self.all.tools) for _ in range(3)}) if self.all.tools else []

    def _send(
        self, client: httpx.Client, method: str, path: str, body: object = None
    ) -> httpx.Response:
        answer = client.request(method, path, json=body)
        self.statuses[answer.status_code] += 1
        if answer.is_error:
            assert_our_shape(answer)
        return answer


@contextmanager
def writing(stack: LocalStack) -> Iterator[list[Writer]]:
    """Let four write as one tenant, with many keys, so that the authorizer has work too."""
    stop, catalogue, keys = Event(), Catalogue(), add_tenant(stack, number_of_keys=80)
    writers = [Writer(stack.url, keys[n::4], Random(n), catalogue, stop) for n in range(4)]
    with ThreadPoolExecutor(len(writers)) as pool:
        done = [pool.submit(writer.write) for writer in writers]
        try:
            yield writers
        finally:
            stop.set()
            for writer in done:
                writer.result()


def succeeded(writers: list[Writer]) -> int:
    return sum(writer.statuses[status] for writer in writers for status in (200, 201, 204))


def wait_for_writes(writers: list[Writer]) -> None:
    enough = succeeded(writers) + WRITES_BETWEEN
    until(lambda: succeeded(writers) >= enough)


# ── What the log says, and what there is ─────────────────────────────────────────────────────────


def rebuilt(stack: LocalStack) -> tuple[dict[str, Rows], set[tuple[str, str]]]:
    """Return the rows and the agents' tools that the log alone tells of.

    Every entry must fit what those before it have told.
    """
    rows: dict[str, Rows] = {"tool": {}, "agent": {}}
    given: set[tuple[str, str]] = set()
    with admin(stack) as conn:
        log = conn.execute(
            "select target_type, split_part(action, '.', 2), target_id, before, after"
            " from app.audit_log where target_type in ('tool', 'agent') order by created_at"
        ).fetchall()
    for kind, done, target, before, after in log:
        match done:
            case "created":
                assert target not in rows[kind]
                rows[kind][target] = after
            case "updated":
                row = rows[kind][target]
                assert {name: row[name] for name in before} == before
                row.update(after)
            case "deleted":
                assert rows[kind].pop(target) == before
            case "tools_added":
                added = {(target, tool_id) for tool_id in after["tool_ids"]}
                assert not added & given
                given |= added
            case "tools_removed":
                removed = {(target, tool_id) for tool_id in before["tool_ids"]}
                assert removed <= given
                given -= removed
    return rows, given


def tables(stack: LocalStack) -> tuple[dict[str, Rows], set[tuple[str, str]]]:
    """Return the rows and the agents' tools that there are."""
    untold = "array['tenant_id', 'created_at', 'updated_at']"
    rows: dict[str, Rows] = {}
    with admin(stack) as conn:
        for kind in ("tool", "agent"):
            found = conn.execute(
                f"select id::text, to_jsonb(t) - {untold} from app.{kind}s t".encode()
            )
            rows[kind] = dict(found.fetchall())
        given = conn.execute("select agent_id::text, tool_id::text from app.agent_tools").fetchall()
    return rows, {(agent_id, tool_id) for agent_id, tool_id in given}


def test_the_log_tells_all_that_happened_and_nothing_else_whatever_is_killed(
    stack: LocalStack,
) -> None:
    chance = Random(5)

    def a_sandbox(function: str) -> Callable[[], int]:
        return lambda: chance.choice(until(lambda: stack.sandboxes(function)))

    def a_backend() -> int:
        with admin(stack) as conn:
            query = "select pid from pg_stat_activity where usename = 'map_api'"
            return int(chance.choice(conn.execute(query).fetchall())[0])

    victims: list[Callable[[], int]] = [
        lambda: stack.postgres_pid,
        a_sandbox("ToolsFunction"),
        a_backend,
        a_sandbox("AgentsFunction"),
    ]
    with writing(stack) as writers:
        for victim in victims * 2:
            wait_for_writes(writers)
            time.sleep(chance.random() / 10)  # at any moment of a request
            os.kill(victim(), signal.SIGKILL)
        wait_for_writes(writers)

    statuses = sum((writer.statuses for writer in writers), Counter[int]())
    assert statuses.keys() <= {200, 201, 204, 403, 404, 409, 500, 503}
    assert statuses[503] > 0, "what was killed had been in use"
    assert rebuilt(stack) == tables(stack)
    with admin(stack) as conn:
        told = {request for (request,) in conn.execute("select request_id from app.audit_log")}
    assert {request for writer in writers for request in writer.requests} <= told
    rows, given = tables(stack)
    assert all((rows["tool"], rows["agent"], given))


def test_a_change_without_its_entry_and_an_entry_without_its_change_would_be_found(
    stack: LocalStack,
) -> None:
    [key] = add_tenant(stack)
    with httpx.Client(base_url=stack.url, headers={"X-API-KEY": key}, timeout=30) as client:

        def make() -> None:
            until(lambda: client.post(TOOLS, json=tool()).status_code == 201)

        make()
        assert rebuilt(stack) == tables(stack)
        with admin(stack) as conn:
            conn.execute("alter table app.tools disable trigger audit")
        make()
        with admin(stack) as conn:
            conn.execute("alter table app.tools enable trigger audit")
    assert rebuilt(stack) != tables(stack)
    with admin(stack) as conn:
        conn.execute(
            "delete from app.tools where id::text not in (select target_id from app.audit_log)"
        )
    assert rebuilt(stack) == tables(stack)
    with admin(stack) as conn:
        conn.execute(
            "insert into app.audit_log (tenant_id, action, target_type, target_id, after)"
            " select id, 'tool.created', 'tool', 'none', '{}' from app.tenants limit 1"
        )
    assert rebuilt(stack) != tables(stack)
