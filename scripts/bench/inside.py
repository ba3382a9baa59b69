"""Measures a function in a process of its own, which has the environment of its sandbox.

`python -m scripts.bench.inside WHAT INPUT OUTPUT` reads and writes JSON files, since what a handler
prints is its log.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote
from uuid import UUID

from fastapi import FastAPI
from mangum import Mangum

from local.sandbox import Context
from mini_agent import telemetry
from mini_agent.data import db, redis_client
from mini_agent.executions import Execution
from mini_agent.http import pagination
from mini_agent.identity.callers import Caller
from scripts.bench.bare import BareFunction
from scripts.bench.cpu import Processors, difference
from scripts.bench.data import Data, History
from scripts.bench.endpoints import Case, Endpoint, endpoints
from scripts.bench.figures import FEW, MANY, Sample

WARM = 20
AT_A_TIME = 50
GET_AGENT, RUN_AGENT = "GET /api/v1/agents/{id}", "POST /api/v1/agents/{id}/run"
HANDLERS = {GET_AGENT: "agents", RUN_AGENT: "runs"}
Measured = dict[str, dict[str, float]]
Handler = Callable[[dict[str, Any], Any], dict[str, Any]]
Prepare = Callable[[int], Callable[[], Any]]
"""Makes the n-th call, outside of the time that is measured."""


def main() -> None:
    """Measure what the arguments say."""
    _, what, asked, told = sys.argv
    parts: dict[str, Callable[..., Any]] = {
        "endpoints": measure_endpoints,
        "cpu": measure_cpu,
        "floor": measure_floor,
        "history": measure_history,
        "steps": measure_steps,
    }
    measured = parts[what](**json.loads(Path(asked).read_text()))
    Path(told).write_text(json.dumps(measured))


def measure_endpoints(
    function: str, handler: str, data: dict[str, Any], samples: int, first: int
) -> dict[str, Measured]:
    """Return, for each endpoint of a function, its handler, the bare function, and its shares."""
    made = Data(**data)
    return {
        endpoint.name: _measure(endpoint, _load(handler), made, samples, first)
        for endpoint in endpoints(made)
        if endpoint.function == function
    }


def _measure(
    endpoint: Endpoint, handler: Handler, data: Data, samples: int, first: int
) -> Measured:
    bare = BareFunction(endpoint)
    watches = {
        "postgres": _Stopwatch(db, "read", "write", "call"),
        "redis": _Stopwatch(redis_client.client(), "execute_command"),
    }

    def ours(n: int) -> Callable[[], None]:
        return partial(_ask, handler, endpoint.case(first + 2 * n).event(endpoint.caller(data)))

    def theirs(n: int) -> Callable[[], Any]:
        case = endpoint.case(first + 2 * n + 1)
        return partial(bare, case.event(endpoint.caller(data)), case.parameters)

    parts: dict[str, Prepare] = {"handler": ours, "bare": theirs}
    _in_turns(parts, range(WARM))
    for watch in watches.values():
        watch.seconds = 0.0
    measured = _in_turns(parts, range(WARM, WARM + samples), processors=Processors())
    total = sum(measured["handler"].seconds)
    share = {name: watch.seconds / total for name, watch in watches.items()}
    return _summaries(measured) | {"share": share}


def measure_cpu(data: dict[str, Any], rounds: int) -> Measured:
    """Return the processor time of a mock run beside that of getting an agent, and both bare.

    All four in turns, so that they meet the same machine.
    """
    made = Data(**data)
    parts: dict[str, Prepare] = {}
    for endpoint in endpoints(made):
        if endpoint.name in {GET_AGENT, RUN_AGENT}:
            handler = _load(f"functions.{HANDLERS[endpoint.name]}.app.handler")
            parts |= _both(endpoint, handler, made)
    _in_turns(parts, range(WARM))
    numbers = range(WARM, WARM + rounds * AT_A_TIME)
    return _summaries(_in_turns(parts, numbers, processors=Processors()))


def _both(endpoint: Endpoint, handler: Handler, data: Data) -> dict[str, Prepare]:
    """Return an endpoint's handler and its bare function."""
    bare = BareFunction(endpoint)

    def ours(n: int) -> Callable[[], None]:
        return partial(_ask, handler, endpoint.case(n).event(endpoint.caller(data)))

    def theirs(n: int) -> Callable[[], Any]:
        case = endpoint.case(n)
        return partial(bare, case.event(endpoint.caller(data)), case.parameters)

    return {endpoint.name: ours, f"{endpoint.name}, bare": theirs}


class _Stopwatch:
    """Adds up the time spent in functions, which it wraps."""

    def __init__(self, owner: object, *names: str) -> None:
        self.seconds = 0.0
        for name in names:
            setattr(owner, name, partial(self._timed, getattr(owner, name)))

    def _timed(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        started = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            self.seconds += time.perf_counter() - started


def measure_floor(data: dict[str, Any], samples: int) -> Measured:
    """Return what frame and observability cost for an event that asks for nothing."""
    event = Case("GET", "/health").event(Data(**data).caller)
    health = {"status": "healthy", "service": "Mini Agent Platform", "version": "1.0.0"}

    def bare(event: dict[str, Any], _context: Any) -> dict[str, Any]:
        json.loads(event["body"] or "null")
        headers = {"content-type": "application/json"}
        return {"statusCode": 200, "headers": headers, "body": json.dumps(health)}

    def threaded() -> dict[str, str]:
        return health

    async def direct() -> dict[str, str]:
        return health

    @telemetry.metrics.log_metrics
    def counted(event: dict[str, Any], context: Any) -> dict[str, Any]:
        telemetry.count("Requests")
        return bare(event, context)

    logged = telemetry.logger.inject_lambda_context(clear_state=True)(bare)
    handlers: dict[str, Handler] = {
        "bare Python": bare,
        "bare Python, Logger": logged,
        "bare Python, Metrics": cast("Handler", counted),
        "FastAPI and Mangum, async def": _fastapi(direct),
        "FastAPI and Mangum, def": _fastapi(threaded),
        "a room: all of it": _load("functions.system.app.handler"),
    }
    parts = {name: _always(partial(_ask, handler, event)) for name, handler in handlers.items()}
    _in_turns(parts, range(WARM))
    return _summaries(_in_turns(parts, range(samples)))


def _fastapi(route: Callable[[], Any]) -> Handler:
    app = FastAPI(openapi_url=None)
    app.get("/health")(route)
    return cast("Handler", Mangum(app, lifespan="off"))


def measure_history(history: dict[str, Any], samples: int) -> Measured:
    """Return the first page and one far down, by cursor and by OFFSET, and the count."""
    told = History(**history)
    caller = Caller.from_event({"requestContext": {"authorizer": told.caller}})
    handler = _load("functions.executions.history_app.handler")
    models = import_module("functions.executions.models")
    # What 45 000 pages would lead to.
    item = SimpleNamespace(id=UUID(told.deep_id), created_at=datetime.fromisoformat(told.deep_time))
    filters = models.HistoryQuery().filters()
    cursor = pagination.Cursors(caller, "executions", filters).encode(item)

    def get(query: str) -> Callable[[], None]:
        return partial(
            _ask, handler, Case("GET", "/api/v1/history", query=query).event(told.caller)
        )

    offset = filters | {"after_time": None, "after_id": None, "limit": 21, "offset": told.deep}
    deep_offset = db.Query("executions/list", offset, Execution)
    often: dict[str, Callable[[], Any]] = {
        "first": get(""),
        "cursor": get(f"cursor={quote(cursor)}"),
    }
    rarely: dict[str, Callable[[], Any]] = {
        "offset": get(f"offset={told.api_offset}"),
        "deep_offset": lambda: db.read(caller, deep_offset),
        "total": get("include_total=true"),
    }
    measured: Measured = {}
    for calls, number in ((often, samples), (rarely, max(samples // 50, 2))):
        parts = {name: _always(call) for name, call in calls.items()}
        _in_turns(parts, range(2))
        measured |= _summaries(_in_turns(parts, range(number)))
    return measured


def measure_steps(data: dict[str, Any], samples: int) -> Measured:
    """Return a short run, a long one, and as many steps as lie between them written down bare."""
    steps = import_module("scripts.bench.steps")  # with all of a run's imports
    made = Data(**data)
    caller = Caller.from_event({"requestContext": {"authorizer": made.caller}})
    engine = steps.Engine(caller, UUID(made.agent))
    parts: dict[str, Prepare] = {
        "few": lambda _: engine.run(FEW),
        "many": lambda _: engine.run(MANY),
        "bare": lambda _: engine.bare(MANY - FEW),
    }
    _in_turns(parts, range(2))
    return _summaries(_in_turns(parts, range(samples), at_a_time=5))


def _in_turns(
    parts: dict[str, Prepare],
    numbers: range,
    at_a_time: int = AT_A_TIME,
    processors: Processors | None = None,
) -> dict[str, Sample]:
    """Time each part's calls, some of one, then some of the next, and so on.

    So whatever else runs here slows all of them, and each finds its code in the CPU's caches, as
    in a busy sandbox.
    """
    measured = {name: Sample() for name in parts}
    for start in range(0, len(numbers), at_a_time):
        for name, prepare in parts.items():
            calls = [prepare(n) for n in numbers[start : start + at_a_time]]
            before = processors.read() if processors else {}
            for call in calls:
                measured[name].time(call)
            if processors:
                measured[name].spent.append(difference(before, processors.read(), len(calls)))
    return measured


def _always(call: Callable[[], Any]) -> Prepare:
    return lambda _: call


def _summaries(measured: dict[str, Sample]) -> Measured:
    return {name: sample.summary() for name, sample in measured.items()}


def _ask(handler: Handler, event: dict[str, Any]) -> None:
    answer = handler(event, Context("bench", time.monotonic() + 10))
    if answer.get("statusCode", 200) >= 300:
        raise SystemExit(f"{event['httpMethod']} {event['path']}: {answer}")


def _load(handler: str) -> Handler:
    module, _, name = handler.rpartition(".")
    loaded: Handler = getattr(import_module(module), name)
    return loaded


if __name__ == "__main__":
    main()
