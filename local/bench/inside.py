"""Measures a function in a process of its own, which has the environment of its sandbox.

`python -m local.bench.inside WHAT INPUT OUTPUT` reads and writes JSON files, since what a handler
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

from local.bench.bare import Bare
from local.bench.data import Data, History
from local.bench.endpoints import Case, Endpoint, endpoints
from local.bench.figures import Sample
from local.sandbox import Context
from mini_agent import db, page, ratelimit, telemetry
from mini_agent.tenant import Caller

WARM = 20
Measured = dict[str, dict[str, float]]
Handler = Callable[[dict[str, Any], Any], dict[str, Any]]


def main() -> None:
    """Measure what the arguments say."""
    _, what, asked, told = sys.argv
    parts: dict[str, Callable[..., Any]] = {
        "endpoints": measure_endpoints,
        "floor": measure_floor,
        "history": measure_history,
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
    """Let handler and bare function take turns, so that whatever else runs here slows both."""
    bare = Bare(endpoint)
    postgres, redis = _Stopwatch(db, "_guarded"), _Stopwatch(ratelimit.client(), "execute_command")
    ours, theirs = Sample(), Sample()
    for n in range(first, first + 2 * (samples + WARM), 2):
        if n == first + 2 * WARM:
            ours, theirs = Sample(), Sample()
            postgres.seconds = redis.seconds = 0.0
        event = endpoint.case(n).event(data.caller)
        answer = ours.time(partial(handler, event, _context()))
        if answer.get("statusCode", 200) >= 300:  # noqa: PLR2004 - a figure for failures is none
            raise SystemExit(f"{endpoint.name}: {answer}")
        case = endpoint.case(n + 1)
        theirs.time(partial(bare, case.event(data.caller), case.parameters))
    share = {"postgres": postgres, "redis": redis}
    total = sum(ours.seconds)
    return {
        "handler": ours.summary(),
        "bare": theirs.summary(),
        "share": {name: watch.seconds / total for name, watch in share.items()},
    }


class _Stopwatch:
    """Adds up the time spent in a function, which it stands in front of."""

    def __init__(self, owner: object, name: str) -> None:
        self.seconds, self.timed = 0.0, getattr(owner, name)
        setattr(owner, name, self)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        started = time.perf_counter()
        try:
            return self.timed(*arguments, **named)
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
    measured = {name: Sample() for name in handlers}
    for n in range(samples + WARM):
        if n == WARM:
            measured = {name: Sample() for name in handlers}
        for name, handler in handlers.items():
            measured[name].time(partial(handler, event, _context()))
    return {name: sample.summary() for name, sample in measured.items()}


def _fastapi(route: Callable[[], Any]) -> Handler:
    app = FastAPI(openapi_url=None)
    app.get("/health")(route)
    return cast("Handler", Mangum(app, lifespan="off"))


def measure_history(history: dict[str, Any], samples: int) -> Measured:
    """Return the first page and one far down, by cursor and by OFFSET, and the count."""
    told = History(**history)
    caller = Caller.from_event({"requestContext": {"authorizer": told.caller}})
    handler = _load("functions.history.app.handler")
    models = import_module("functions.history.models")
    # What 45 000 pages would lead to.
    item = SimpleNamespace(id=UUID(told.deep_id), created_at=datetime.fromisoformat(told.deep_time))
    filters = models.HistoryQuery().filters()
    cursor = page._cursor(item, page._seal(caller, "history", filters))  # noqa: SLF001

    def get(query: str) -> Callable[[], None]:
        event = Case("GET", "/api/v1/history", query=query).event(told.caller)

        def ask() -> None:
            if (answer := handler(event, _context()))["statusCode"] != 200:  # noqa: PLR2004
                raise SystemExit(f"history: {answer}")

        return ask

    offset = filters | {"after_time": None, "after_id": None, "limit": 21, "offset": told.deep}
    deep_offset = db.Query("history/list", offset, models.Execution)
    often = {"first": get(""), "cursor": get(f"cursor={quote(cursor)}")}
    rarely = {
        "offset": get(f"offset={told.api_offset}"),
        "deep_offset": lambda: db.read(caller, deep_offset),
        "total": get("include_total=true"),
    }
    return _in_turns(often, samples) | _in_turns(rarely, max(samples // 50, 2))


def _in_turns(calls: dict[str, Callable[[], Any]], samples: int) -> Measured:
    measured = {name: Sample() for name in calls}
    for call in calls.values():
        call()
    for _ in range(samples):
        for name, call in calls.items():
            measured[name].time(call)
    return {name: sample.summary() for name, sample in measured.items()}


def _load(handler: str) -> Handler:
    module, _, name = handler.rpartition(".")
    loaded: Handler = getattr(import_module(module), name)
    return loaded


def _context() -> Context:
    return Context("bench", time.monotonic() + 10)


if __name__ == "__main__":
    main()
