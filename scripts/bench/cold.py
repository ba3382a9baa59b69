"""Measures cold starts: a new process imports a function's handler and serves one event."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from local.pool import ROOT
from scripts.bench.endpoints import Case

if TYPE_CHECKING:
    from scripts.bench.data import Data
    from scripts.bench.stack import Stack

DRIVERS = {"psycopg": "psycopg", "redis-py": "redis"}
# Times go to a pipe of their own: what a handler prints is its log.
DRIVER_START = r"""
import os, sys, time
started = time.perf_counter()
__import__(sys.argv[2])
os.write(int(sys.argv[1]), f"{time.perf_counter() - started}\n".encode())
"""
FUNCTION_START = r"""
import importlib, json, os, sys, time
started = time.perf_counter()
module, _, name = os.environ["_HANDLER"].rpartition(".")
handler = getattr(importlib.import_module(module), name)
imported = time.perf_counter() - started
from local.sandbox import Context
answer = handler(json.loads(sys.argv[2]), Context("bench", time.monotonic() + 10))
if isinstance(answer, dict) and answer.get("Status") == "FAILED":
    raise SystemExit(f"{os.environ['_HANDLER']} failed: {answer}")
os.write(int(sys.argv[1]), f"{imported}\n".encode())
"""
NOBODYS = "00000000-0000-0000-0000-000000000000"
CASES = {
    "ToolsFunction": Case("GET", "/api/v1/tools"),
    "AgentsFunction": Case("GET", "/api/v1/agents"),
    "EventsFunction": Case("GET", f"/api/v1/executions/{NOBODYS}/events"),
    "ExecutionsFunction": Case("GET", f"/api/v1/executions/{NOBODYS}"),
    "SecretsFunction": Case("GET", "/api/v1/secrets"),
    "HistoryFunction": Case("GET", "/api/v1/history"),
    "KeysFunction": Case("GET", "/api/v1/keys"),
    "AuditFunction": Case("GET", "/api/v1/audit"),
    "AdminFunction": Case("GET", "/api/v1/admin/tenants"),
    "SystemFunction": Case("GET", "/health"),
    "AuthorizerFunction": Case("GET", "/api/v1/tools"),
}


@dataclass
class Starts:
    """Milliseconds: of the imports, of the whole process up to its answer, without byte code."""

    imports: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    uncompiled: list[float] = field(default_factory=list)

    def medians(self) -> tuple[float, float, float]:
        """Return imports, whole, uncompiled (0 where not measured)."""
        return median(self.imports), median(self.whole), median(self.uncompiled or [0])


def measure(stack: Stack, data: Data, rounds: int) -> dict[str, Starts]:
    """Return the starts of each function, and of processes that import a driver and no more.

    They take turns. A single round takes the byte code that is there and tells nothing about it.
    """
    measured = {name: Starts() for name in [*DRIVERS, *stack.functions]}
    compiled, own = _byte_code(stack, data, list(measured)) if rounds > 1 else (None, None)
    for _ in range(rounds):
        for name, starts in measured.items():
            imports, whole = _start(stack, data, name, compiled)
            starts.imports.append(imports)
            starts.whole.append(whole)
            if own:
                starts.uncompiled.append(_start(stack, data, name, own)[1])
    return measured


def _byte_code(stack: Stack, data: Data, names: list[str]) -> tuple[Path, Path]:
    """Return two folders: with all byte code, as the build ships it, and with Python's own alone.

    The second is what Lambda's runtime has of its own.
    """
    compiled, own = stack.folder / "compiled", stack.folder / "uncompiled"
    for name in names:
        _start(stack, data, name, compiled, write=True)
    shutil.copytree(compiled, own)
    for ours in {ROOT, Path(sys.prefix)}:
        shutil.rmtree(own / ours.relative_to("/"), ignore_errors=True)
    return compiled, own


def _start(
    stack: Stack, data: Data, name: str, byte_code: Path | None, *, write: bool = False
) -> tuple[float, float]:
    """Return the milliseconds of a start: of its imports, and in all."""
    if name in DRIVERS:
        code, environment = DRIVER_START, stack.environment("ToolsFunction")
        argument = DRIVERS[name]
    else:
        code, environment = FUNCTION_START, stack.environment(name)
        argument = json.dumps(_event(data, name))
    if byte_code:
        environment["PYTHONPYCACHEPREFIX"] = str(byte_code)
    if not write:
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
    reader, writer = os.pipe()
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(writer), argument],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        pass_fds=(writer,),
    )
    os.close(writer)
    with os.fdopen(reader) as told:
        imports = told.readline()
    whole = time.perf_counter() - started
    process.wait()
    return float(imports) * 1000, whole * 1000


def _event(data: Data, name: str) -> dict[str, object]:
    if name in {"MigrateFunction", "SweepFunction"}:
        return {}
    if name == "RunsFunction":
        asked = {"prompt": "What is new?", "model": "gpt-4o"}
        return Case("POST", f"/api/v1/agents/{data.agent}/run", asked).event(data.caller)
    if name == "WorkerFunction":
        return _delivery({"tenant_id": data.caller["tenant_id"], "execution_id": NOBODYS})
    return CASES[name].event(data.operator if name == "AdminFunction" else data.caller)


def _delivery(told: dict[str, str]) -> dict[str, object]:
    """Return what a durable function is called with at first."""
    arn = "bench"
    started = {
        "Id": arn,
        "Type": "EXECUTION",
        "Status": "STARTED",
        "ExecutionDetails": {"InputPayload": json.dumps(told)},
    }
    return {
        "DurableExecutionArn": arn,
        "CheckpointToken": "bench",
        "InitialExecutionState": {"Operations": [started], "NextMarker": ""},
    }
