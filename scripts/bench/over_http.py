"""Measures endpoints as a client sees them, through the local gateway, one request at a time."""

from __future__ import annotations

import http.client
import json
from functools import partial
from typing import TYPE_CHECKING

from scripts.bench.endpoints import HEADERS, Case, Endpoint
from scripts.bench.figures import Sample

if TYPE_CHECKING:
    from scripts.bench.data import Data
    from scripts.bench.stack import Stack

WARM = 5


def measure(stack: Stack, data: Data, endpoint: Endpoint, samples: int) -> dict[str, float]:
    """Return p50, p99, and requests per second of the CPU of gateway and sandboxes."""
    connection = http.client.HTTPConnection("127.0.0.1", stack.port)
    headers = dict(HEADERS) | {"X-API-KEY": endpoint.key(data)}
    for n in range(WARM):
        _send(connection, endpoint.case(n), headers)
    sample, before = Sample(), stack.cpu_seconds()
    for n in range(WARM, WARM + samples):
        sample.time(partial(_send, connection, endpoint.case(n), headers))
    sample.cpu_seconds = stack.cpu_seconds() - before
    connection.close()
    return sample.summary()


def _send(connection: http.client.HTTPConnection, case: Case, headers: dict[str, str]) -> None:
    body = json.dumps(case.body) if case.body else None
    connection.request(case.method, case.path, body, headers)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status >= 300:
        raise SystemExit(f"{case.method} {case.path}: {answer.status} {text!r}")
