"""Measures runs in the background, from the request to the end, through the durable runner."""

from __future__ import annotations

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median, quantiles
from typing import TYPE_CHECKING

from scripts.bench.endpoints import HEADERS

if TYPE_CHECKING:
    from scripts.bench.data import Data
    from scripts.bench.stack import Stack

CLIENTS = 4
PATIENCE_SECONDS = 300
TOOK = (
    "select 1000 * extract(epoch from finished_at - created_at)::float8 from app.executions"
    " where background and prompt = %s"
)
OPEN = (
    "select count(*) from app.executions where background and prompt = %s and status <> 'completed'"
)


def measure(stack: Stack, data: Data, runs: int) -> dict[str, float]:
    """Return how many runs a second are accepted, and done; and milliseconds from end to end.

    As many as there are clients go before, so that sandboxes are there.
    """
    _all_done(stack, _start(stack, data, "warm", 2 * CLIENTS))
    started = time.perf_counter()
    prompt = _start(stack, data, "measured", runs)
    accepted = time.perf_counter() - started
    _all_done(stack, prompt)
    done = time.perf_counter() - started
    with stack.admin() as conn:
        times = [milliseconds for (milliseconds,) in conn.execute(TOOK, [prompt])]
    if len(times) != runs:
        raise SystemExit(f"{runs} runs were asked for, {len(times)} are there")
    p95 = quantiles(times, n=20, method="inclusive")[18]
    return {
        "accepted": runs / accepted,
        "done": runs / done,
        "p50": median(times),
        "p95": p95,
    }


def _start(stack: Stack, data: Data, prompt: str, runs: int) -> str:
    body = json.dumps({"prompt": prompt, "model": "gpt-4o"})
    headers = dict(HEADERS) | {"Prefer": "respond-async"}

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", stack.port)
        for _ in range(number, runs, CLIENTS):
            connection.request("POST", f"/api/v1/agents/{data.agent}/run", body, headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 202:
                raise SystemExit(f"a run in the background: {answer.status} {text!r}")
        connection.close()

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(client, range(CLIENTS)))
    return prompt


def _all_done(stack: Stack, prompt: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    with stack.admin() as conn:
        conn.autocommit = True
        while conn.execute(OPEN, [prompt]).fetchone() != (0,):
            if time.monotonic() > deadline:
                raise SystemExit(f"runs are not done after {PATIENCE_SECONDS} s")
            time.sleep(0.02)
