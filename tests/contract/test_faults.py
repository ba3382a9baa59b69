"""Processes of the platform die while clients are using it."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from random import Random
from threading import Event
from uuid import uuid4

import httpx
import psycopg
import pytest

from mini_agent.errors import ErrorBody
from tests.contract.conftest import LocalStack
from tests.contract.tenants import add_tenant, admin
from tests.waiting import until

TOOLS, AGENTS, HISTORY = "/api/v1/tools", "/api/v1/agents", "/api/v1/history"


@pytest.fixture
def client(stack: LocalStack) -> Iterator[httpx.Client]:
    """A new tenant's client."""
    [key] = add_tenant(stack)
    with httpx.Client(base_url=stack.url, headers={"X-API-KEY": key}, timeout=30) as client:
        yield client


def tool() -> dict[str, str]:
    return {"name": str(uuid4()), "description": "Search the web"}


def runnable(client: httpx.Client) -> str:
    """Return the path on which a new agent is run."""
    agent = {"name": str(uuid4()), "role": "researcher", "description": "Finds things out"}
    made = client.post(AGENTS, json=agent)
    assert made.status_code == 201
    return f"{AGENTS}/{made.json()['id']}/run"


RUN = {"prompt": "What is new?", "model": "gpt-4o"}


def assert_our_shape(answer: httpx.Response) -> None:
    ErrorBody.model_validate_json(answer.text)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    assert ("retry-after" in answer.headers) == (answer.status_code == 503)


def assert_recovers(client: httpx.Client) -> None:
    def recovered() -> bool:
        answer = client.get(TOOLS)
        if answer.status_code != 200:
            assert answer.status_code == 503
            assert_our_shape(answer)
        return answer.status_code == 200

    until(recovered)


@dataclass
class Blockade:
    """Holds a table, so that requests can be met in their middle."""

    conn: psycopg.Connection

    def waiting(self) -> set[int]:
        """Return the process ids of the backends that wait for the table."""
        return {pid for (pid,) in self.conn.execute("select pid from pg_locks where not granted")}

    def caught(self, *, besides: int = 0) -> int:
        """Return the backend of a request that has arrived here."""
        return until(lambda: self.waiting() - {besides}).pop()


@contextmanager
def blocked(stack: LocalStack, table: str) -> Iterator[Blockade]:
    with closing(admin(stack)) as conn:
        conn.execute(f"lock table app.{table} in access exclusive mode".encode())
        yield Blockade(conn)


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.mark.parametrize(
    ("function", "table", "status"),
    [
        ("ToolsFunction", "tools", 500),
        ("AgentsFunction", "agents", 500),
        ("RunsFunction", "executions", 500),
        ("HistoryFunction", "executions", 500),
        ("AuthorizerFunction", "api_keys", 503),
    ],
)
def test_a_sandbox_killed_in_mid_request_costs_this_request_alone(
    stack: LocalStack,
    client: httpx.Client,
    background: ThreadPoolExecutor,
    function: str,
    table: str,
    status: int,
) -> None:
    run = runnable(client)
    [new_key] = add_tenant(stack)
    asked = {"name": "half done", "description": "x", "role": "x"}
    send: dict[str, Callable[[], httpx.Response]] = {
        "ToolsFunction": lambda: client.post(TOOLS, json=tool()),
        "AgentsFunction": lambda: client.post(AGENTS, json=asked),
        "RunsFunction": lambda: client.post(run, json=RUN),
        "HistoryFunction": lambda: client.get(HISTORY),
        "AuthorizerFunction": lambda: client.get(TOOLS, headers={"X-API-KEY": new_key}),
    }
    with blocked(stack, table) as blockade:
        answer = background.submit(send[function])
        blockade.caught()
        for pid in stack.sandboxes(function):
            os.kill(pid, signal.SIGKILL)
        assert answer.result().status_code == status
    assert_our_shape(answer.result())
    assert send[function]().status_code in {200, 201}  # the name is free: nothing half done


def kill_postmaster(stack: LocalStack, _: int) -> None:
    os.kill(stack.postgres_pid, signal.SIGKILL)


def kill_backend(_: LocalStack, pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("kill", [kill_postmaster, kill_backend])
def test_postgres_killed_in_mid_request_is_a_503_and_then_all_is_normal_by_itself(
    stack: LocalStack,
    client: httpx.Client,
    background: ThreadPoolExecutor,
    kill: Callable[[LocalStack, int], None],
) -> None:
    half_done = tool()
    assert client.get(TOOLS).status_code == 200
    with blocked(stack, "tools") as blockade:
        answer = background.submit(client.post, TOOLS, json=half_done)
        kill(stack, blockade.caught())
        assert answer.result().status_code == 503
    assert_our_shape(answer.result())
    assert answer.result().json()["details"] == {"reason": "database"}
    assert_recovers(client)
    assert client.post(TOOLS, json=half_done).status_code == 201


def test_a_connection_lost_before_commit_is_replaced_unseen(
    stack: LocalStack, client: httpx.Client, background: ThreadPoolExecutor
) -> None:
    assert client.get(TOOLS).status_code == 200
    with blocked(stack, "tools") as blockade:
        answer = background.submit(client.post, TOOLS, json=tool())
        first = blockade.caught()
        blockade.conn.execute("select pg_terminate_backend(%s)", (first,))
        blockade.caught(besides=first)
    assert answer.result().status_code == 201
    assert [t["id"] for t in client.get(TOOLS).json()["items"]] == [answer.result().json()["id"]]


@dataclass
class Writer:
    """Writes until told to stop, with many keys, so that the authorizer has work too."""

    url: str
    keys: list[str]
    run: str
    stop: Event
    tools: set[str] = field(default_factory=set)
    executions: set[str] = field(default_factory=set)
    statuses: Counter[int] = field(default_factory=Counter)

    def write(self) -> None:
        """Remember the id of every acknowledged write; hold every refusal against our shape."""
        with httpx.Client(base_url=self.url, timeout=30) as client:
            for key in cycle(self.keys):
                if self.stop.is_set():
                    return
                headers = {"X-API-KEY": key}
                if made := self._send(client.post(TOOLS, json=tool(), headers=headers)):
                    self.tools.add(made["id"])
                if made := self._send(client.post(self.run, json=RUN, headers=headers)):
                    self.executions.add(made["execution_id"])

    def _send(self, answer: httpx.Response) -> dict[str, str] | None:
        self.statuses[answer.status_code] += 1
        if answer.is_success:
            made: dict[str, str] = answer.json()
            return made
        assert_our_shape(answer)
        return None


@contextmanager
def writing(stack: LocalStack, client: httpx.Client, keys: list[str]) -> Iterator[list[Writer]]:
    stop, run = Event(), runnable(client)
    writers = [Writer(stack.url, keys[n::3], run, stop) for n in range(3)]
    with ThreadPoolExecutor(len(writers)) as pool:
        done = [pool.submit(writer.write) for writer in writers]
        try:
            yield writers
        finally:
            stop.set()
        for writer in done:
            writer.result()


def count(writers: list[Writer]) -> int:
    return sum(len(writer.tools) + len(writer.executions) for writer in writers)


def wait_for_writes(writers: list[Writer]) -> None:
    enough = count(writers) + 10
    until(lambda: count(writers) >= enough)


def read_all(client: httpx.Client, path: str) -> set[str]:
    found: set[str] = set()
    cursor: dict[str, str] = {}
    while True:
        page = client.get(path, params={"limit": "100", **cursor}).json()
        found |= {item["id"] for item in page["items"]}
        if not page["has_more"]:
            return found
        cursor = {"cursor": page["next_cursor"]}


def test_no_acknowledged_write_is_lost_whatever_is_killed(stack: LocalStack) -> None:
    chance, keys = Random(2), add_tenant(stack, number_of_keys=300)

    def a_backend() -> int:
        with admin(stack) as conn:
            query = "select pid from pg_stat_activity where usename = 'map_api'"
            pids: list[int] = [pid for (pid,) in conn.execute(query)]
        return chance.choice(pids)

    victims: list[Callable[[], int]] = [
        lambda: stack.postgres_pid,
        lambda: chance.choice(stack.sandboxes("ToolsFunction")),
        a_backend,
        lambda: chance.choice(stack.sandboxes("AuthorizerFunction")),
        lambda: stack.redis_pid,
        lambda: chance.choice(stack.sandboxes("RunsFunction")),
    ]
    headers = {"X-API-KEY": keys.pop()}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=30) as client:
        with writing(stack, client, keys) as writers:
            for victim in victims * 2:
                wait_for_writes(writers)
                time.sleep(chance.random() / 10)  # at any moment of a request
                os.kill(victim(), signal.SIGKILL)
            wait_for_writes(writers)
        assert_recovers(client)
        assert {id_ for writer in writers for id_ in writer.tools} <= read_all(client, TOOLS)
        assert {id_ for writer in writers for id_ in writer.executions} <= read_all(client, HISTORY)
    statuses = sum((writer.statuses for writer in writers), Counter[int]())
    assert statuses.keys() <= {200, 201, 500, 503}
    assert statuses[503] > 0, "what was killed had been in use"


def test_while_redis_is_killed_the_catalogue_answers_and_runs_are_503_at_worst(
    stack: LocalStack, client: httpx.Client
) -> None:
    run, statuses = runnable(client), Counter[int]()

    def recovered() -> bool:
        read, started = client.get(TOOLS), client.post(run, json=RUN)
        statuses[started.status_code] += 1
        assert read.status_code == 200
        if started.status_code != 200:
            assert started.json()["details"] == {"reason": "rate_limiter"}
            assert_our_shape(started)
        return started.status_code == 200 and "x-ratelimit-remaining" in read.headers

    for _ in range(2):
        os.kill(stack.redis_pid, signal.SIGKILL)
        until(recovered)
    assert statuses.keys() == {200, 503}
