"""Measures what a tenant feels of another one that sends ten times what it may."""

from __future__ import annotations

import http.client
import multiprocessing
import time
from functools import partial
from typing import TYPE_CHECKING

from scripts.bench.data import HISTORIAN
from scripts.bench.figures import Sample

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

    from scripts.bench.stack import Stack

QUIET, NOISY = "tenant-a-key", "tenant-b-key"
LIMIT = 100  # requests a minute of the noisy one
TIMES = 10
PAUSE_SECONDS = 0.002
REFUSED = 429


def measure(stack: Stack, turns: int, seconds: float) -> dict[str, dict[str, float]]:
    """Return p50, p99 and refusals of the quiet tenant, alone and beside the noisy one.

    In turns of so many seconds each.

    With it, what the noisy one has sent and was refused.
    """
    with stack.admin() as conn:
        limit = "update app.tenants set requests_per_minute = %s where id = %s"
        conn.execute(limit, [LIMIT, HISTORIAN])
    samples = {"alone": Sample(), "beside": Sample()}
    refused = {"alone": 0, "beside": 0}
    spawn = multiprocessing.get_context("spawn")
    at_work = spawn.Value("b", False)
    sent, turned_away = spawn.Value("i", 0), spawn.Value("i", 0)
    noisy = spawn.Process(
        target=_make_noise, args=(stack.port, at_work, sent, turned_away), daemon=True
    )
    noisy.start()
    connection = http.client.HTTPConnection("127.0.0.1", stack.port)
    for _ in range(turns):
        for name, sample in samples.items():
            at_work.value = name == "beside"
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                refused[name] += sample.time(partial(_ask, connection, QUIET)) == REFUSED
                time.sleep(PAUSE_SECONDS)
    noisy.terminate()
    noisy.join()
    connection.close()
    told = {name: s.summary() | {"refused": refused[name]} for name, s in samples.items()}
    return told | {"noisy": {"sent": sent.value, "refused": turned_away.value}}


def _make_noise(
    port: int,
    at_work: Synchronized[int],
    sent: Synchronized[int],
    turned_away: Synchronized[int],
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    pause = 60 / (LIMIT * TIMES)
    due = time.monotonic()
    while True:
        due = max(due + pause, time.monotonic() - pause)
        time.sleep(max(0.0, due - time.monotonic()))
        if at_work.value:
            turned_away.value += _ask(connection, NOISY) == REFUSED
            sent.value += 1


def _ask(connection: http.client.HTTPConnection, key: str) -> int:
    connection.request("GET", "/api/v1/tools?limit=1", headers={"X-API-KEY": key})
    answer = connection.getresponse()
    answer.read()
    if answer.status not in {200, REFUSED}:
        raise SystemExit(f"GET /api/v1/tools: {answer.status}")
    return answer.status
