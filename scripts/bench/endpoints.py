"""Every endpoint: a request of it, and the calls to Postgres and Redis that it comes down to."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from local.proxy import Request
from scripts.bench.data import KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scripts.bench.data import Data

STAGE = "live"
HEADERS = [("X-API-KEY", KEY), ("Content-Type", "application/json")]
PAGE = {"limit": 21, "offset": 0, "after_time": None, "after_id": None}
TEXT = "Search the web for real-time information"


@dataclass(frozen=True)
class Exchange:
    """Queries that go to Postgres together, as a tenant or not, to be committed or not."""

    queries: tuple[str, ...]
    commit: bool = False
    tenant: bool = True


@dataclass(frozen=True)
class Case:
    """One request; `parameters` are those of its queries."""

    method: str
    path: str
    body: dict[str, Any] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    query: str = ""

    def event(self, caller: Mapping[str, str]) -> dict[str, Any]:
        """Return the event that a function gets, or the authorizer; `caller` is its context."""
        request = Request(self.method, self.path, self.query, HEADERS, authorizer=dict(caller))
        body = json.dumps(self.body) if self.body else None
        more = {"body": body, "isBase64Encoded": False, "methodArn": request.arn(STAGE)}
        return request.event(STAGE) | more


@dataclass(frozen=True)
class Endpoint:
    """`case(n)` is the n-th request; no two of them get into each other's way."""

    name: str
    function: str
    case: Callable[[int], Case]
    exchanges: tuple[Exchange, ...] = ()
    limited: bool = True
    over_http: bool = True
    operators: bool = False

    def caller(self, data: Data) -> dict[str, str]:
        """Return the authorizer's context of who calls it."""
        return data.operator if self.operators else data.caller

    def key(self, data: Data) -> str:
        """Return the key of who calls it."""
        return data.operators_key if self.operators else KEY


def read(*queries: str) -> tuple[Exchange, ...]:
    """Return the one exchange of a read."""
    return (Exchange(queries),)


def write(*queries: str) -> tuple[Exchange, ...]:
    """Return the one exchange of a write."""
    return (Exchange(queries, commit=True),)


def endpoints(data: Data) -> list[Endpoint]:
    """Return all of the OpenAPI document, and the authorizer."""
    from scripts.bench.managing import managing  # noqa: PLC0415 - which is written in these terms

    rooms = (_tools, _agents, _executions, _secrets, _history, managing, _system)
    return [endpoint for room in rooms for endpoint in room(data)]


def _tools(data: Data) -> list[Endpoint]:
    path, function = "/api/v1/tools", "ToolsFunction"
    described_only = {"parameters": None, "endpoint": None}
    flags = ("idempotent", "requires_approval")

    def create(n: int) -> Case:
        body = {"name": f"tool {n}", "description": TEXT}
        return Case("POST", path, body, body | described_only | dict.fromkeys(flags, False))

    def list_(_: int) -> Case:
        return Case("GET", path, None, {"name": None, "agent_name": None, **PAGE})

    def get(_: int) -> Case:
        return Case("GET", f"{path}/{data.tool}", None, {"id": data.tool})

    def update(n: int) -> Case:
        body = {"description": f"{TEXT} {n}"}
        unchanged = {"id": data.tool, "name": None, **described_only, **dict.fromkeys(flags)}
        unchanged |= {"new_parameters": False, "new_endpoint": False}
        return Case("PUT", f"{path}/{data.tool}", body, unchanged | body)

    def delete(n: int) -> Case:
        tool = data.spare_tools[n]
        return Case("DELETE", f"{path}/{tool}", None, {"id": tool})

    return [
        Endpoint(f"POST {path}", function, create, write("tools/create")),
        Endpoint(f"GET {path}", function, list_, read("tools/list")),
        Endpoint(f"GET {path}/{{id}}", function, get, read("tools/get")),
        Endpoint(f"PUT {path}/{{id}}", function, update, write("tools/update")),
        Endpoint(f"DELETE {path}/{{id}}", function, delete, write("tools/delete")),
    ]


def _agents(data: Data) -> list[Endpoint]:
    path, function = "/api/v1/agents", "AgentsFunction"
    fields = {"role": "researcher", "description": TEXT}
    prompt = {"prompt": "What is new?", "model": "gpt-4o"}

    def create(n: int) -> Case:
        body = {"name": f"agent {n}", **fields, "tool_ids": [data.tool]}
        return Case("POST", path, body, body | {"tool_ids": [UUID(data.tool)]})

    def list_(_: int) -> Case:
        return Case("GET", path, None, {"name": None, "role": None, "tool_name": None, **PAGE})

    def get(_: int) -> Case:
        return Case("GET", f"{path}/{data.agent}", None, {"id": data.agent})

    def update(n: int) -> Case:
        body = {"description": f"{TEXT} {n}", "tool_ids": [data.tool]}
        unchanged = {"id": data.agent, "name": None, "role": None}
        parameters = {**unchanged, **body, "tool_ids": [UUID(data.tool)]}
        return Case("PUT", f"{path}/{data.agent}", body, parameters)

    def delete(n: int) -> Case:
        agent = data.spare_agents[n]
        return Case("DELETE", f"{path}/{agent}", None, {"id": agent})

    def run(_: int) -> Case:
        created = {"id": uuid4(), "agent_id": data.agent, "is_queued": False, "lease": 115}
        created |= {"limits": Jsonb({"timeout_seconds": 25}), "may_create": True}
        created |= {"own_key": "openai_api_key", "checked": None, "warning": None}
        created |= {"reserved_tokens": 0, "reserved_usd": 0}
        step = {"attempt": 1, "number": 1, "step_status": "completed", "step_response": None}
        step |= {"result": Jsonb({"text": TEXT}), "response": TEXT}
        used = {"input_tokens": 0, "output_tokens": 0, "cost_usd": 0}
        ended = {"status": "completed", "stop_reason": "answered"}
        parameters = {**prompt, **created, **step, **used, **ended}
        return Case("POST", f"{path}/{data.agent}/run", prompt, parameters)

    updates = write("agents/update", "agents/replace_tools", "agents/get")
    # Either enters its tenant itself, and commits in its one round trip.
    runs = (Exchange(("runs/create",), tenant=False), Exchange(("runs/end",), tenant=False))
    return [
        Endpoint(f"POST {path}", function, create, write("agents/create")),
        Endpoint(f"GET {path}", function, list_, read("agents/list")),
        Endpoint(f"GET {path}/{{id}}", function, get, read("agents/get")),
        Endpoint(f"PUT {path}/{{id}}", function, update, updates),
        Endpoint(f"DELETE {path}/{{id}}", function, delete, write("agents/delete")),
        Endpoint(f"POST {path}/{{id}}/run", "RunsFunction", run, runs),
    ]


def _executions(data: Data) -> list[Endpoint]:
    path, function = "/api/v1/executions", "ExecutionsFunction"
    one = {"id": data.execution, "since": 0}

    def get(way: str) -> Callable[[int], Case]:
        return lambda _: Case("GET", f"{path}/{data.execution}{way}", None, one)

    def cancel(n: int) -> Case:
        run = data.spare_runs[n]
        return Case("POST", f"{path}/{run}/cancel", None, {"id": run})

    def decide(n: int) -> Case:
        run, body = data.spare_approvals[n], {"decision": "approve", "comment": ""}
        parameters = {"id": run, "step": 1, "key_id": data.caller["key_id"], **body}
        return Case("POST", f"{path}/{run}/approvals/1", body, parameters)

    cancelling = write("executions/cancel") + read("executions/get")
    steps = ("executions/get", "executions/list_steps")
    approvals = f"POST {path}/{{id}}/approvals/{{id}}"
    return [
        Endpoint("GET /api/v1/models", "RunsFunction", lambda _: Case("GET", "/api/v1/models")),
        Endpoint(f"GET {path}/{{id}}", function, get(""), read("executions/get")),
        Endpoint(f"GET {path}/{{id}}/steps", function, get("/steps"), read(*steps)),
        Endpoint(f"GET {path}/{{id}}/events", "EventsFunction", get("/events"), read(*steps)),
        Endpoint(f"POST {path}/{{id}}/cancel", function, cancel, cancelling),
        Endpoint(approvals, function, decide, write("executions/decide_approval")),
    ]


def _secrets(data: Data) -> list[Endpoint]:
    path, function = "/api/v1/secrets", "SecretsFunction"

    def put(n: int) -> Case:
        body = {"value": f"{TEXT} {n}"}
        return Case("PUT", f"{path}/one", body, {"name": "one", "ciphertext": TEXT.encode()})

    def list_(_: int) -> Case:
        return Case("GET", path, None, PAGE)

    def delete(n: int) -> Case:
        name = data.spare_secrets[n]
        return Case("DELETE", f"{path}/{name}", None, {"name": name})

    return [
        Endpoint(f"PUT {path}/{{id}}", function, put, write("secrets/put")),
        Endpoint(f"GET {path}", function, list_, read("secrets/list")),
        Endpoint(f"DELETE {path}/{{id}}", function, delete, write("secrets/delete")),
    ]


def _history(data: Data) -> list[Endpoint]:
    path, function = "/api/v1/history", "HistoryFunction"
    filters = (
        *("agent_id", "model", "status", "created_after", "created_before"),
        *("stop_reason", "min_cost_usd", "min_duration_ms"),
    )

    def list_(_: int) -> Case:
        return Case("GET", path, None, dict.fromkeys(filters) | PAGE)

    def get(_: int) -> Case:
        return Case("GET", f"{path}/{data.execution}", None, {"id": data.execution})

    def usage(_: int) -> Case:
        bounds = dict.fromkeys(("agent_id", "model", "created_after", "created_before"))
        return Case("GET", "/api/v1/usage", None, bounds)

    def export(_: int) -> Case:
        return Case("GET", f"{path}/export", None, dict.fromkeys(filters) | PAGE, "limit=20")

    return [
        Endpoint(f"GET {path}/export", function, export, read("executions/list")),
        Endpoint("GET /api/v1/usage", function, usage, read("executions/list_usage")),
        Endpoint(f"GET {path}", function, list_, read("executions/list")),
        Endpoint(f"GET {path}/{{id}}", function, get, read("executions/get")),
    ]


def _system(data: Data) -> list[Endpoint]:
    ping = (Exchange(("system/ping",), tenant=False),)
    authenticate = (Exchange(("authorizer/authenticate",), tenant=False),)

    def health(_: int) -> Case:
        return Case("GET", "/health")

    def ready(_: int) -> Case:
        return Case("GET", "/ready")

    def authorize(_: int) -> Case:
        return Case("GET", "/api/v1/tools", None, {"digests": [bytes.fromhex(data.digest)]})

    return [
        Endpoint("GET /health", "SystemFunction", health, limited=False),
        Endpoint("GET /ready", "SystemFunction", ready, ping),
        Endpoint("authorizer", "AuthorizerFunction", authorize, authenticate, False, False),
    ]
