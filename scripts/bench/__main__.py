"""`make bench`: prints what the platform costs, beside its budgets."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from redis import Redis

from local.pool import ROOT
from scripts.bench import background, cold, data, neighbours, over_http, stack
from scripts.bench.endpoints import Endpoint, endpoints
from scripts.bench.figures import FEW, MANY, PROCESSES, table, verdict

if TYPE_CHECKING:
    from scripts.bench.data import Data
    from scripts.bench.stack import Stack

FRAMEWORK_MICROSECONDS = 100  # FastAPI and Mangum, for an event
BY_ID = 2.0  # an item by its id against the bare function
DEEP = 1.5  # a page far down against the first
ROOM_IMPORTS = 2.2  # a catalogue room's imports against psycopg's plus redis-py's
BESIDE_NOISE = 1.2  # p99 of a tenant beside one that floods, against alone
SPARES = 100  # what warming up uses besides what is measured


@dataclass(frozen=True)
class BenchSize:
    """How much to measure.

    Requests, requests over HTTP, cold starts, executions, runs, turns beside a noisy tenant and
    their seconds.
    """

    samples: int
    http: int
    rounds: int
    rows: int
    runs: int
    turns: int
    seconds: float


FULL = BenchSize(samples=1000, http=500, rounds=10, rows=1_000_000, runs=300, turns=12, seconds=4)
QUICK = BenchSize(samples=10, http=10, rounds=1, rows=2_000, runs=10, turns=1, seconds=1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m scripts.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few of each, to see that it works")
    size = QUICK if parser.parse_args().quick else FULL
    _progress("the platform starts")
    with stack.running() as running:
        made = data.fill(running, size.http + 2 * size.samples + SPARES)
        print(_machine(running))
        _print("Endpoints", _endpoints(running, made, size))
        _print("Processor time of a run", _cpu(running, made, size))
        _print("An event that asks for nothing", _floor(running, made, size))
        _print("Cold starts", _cold(running, made, size))
        _print("Steps of a run", _steps(running, made, size))
        _print("Runs in the background", _background(running, made, size))
        _print("Beside a noisy tenant", _neighbours(running, size))
        _print("A long history", _history(running, size))


def _endpoints(running: Stack, made: Data, size: BenchSize) -> str:
    """Return one row an endpoint: over HTTP, its handler, the bare function."""
    titles = (
        *("endpoint", "HTTP p50 ms", "p99", "req/s of CPU"),
        *("handler p50 ms", "p99", "req/s of CPU", "in Postgres", "in Redis"),
        *("CPU ms: handler", "Postgres", "Redis"),
        *("bare p50 ms", "p99", "handler / bare", f"by id ≤ {BY_ID:g}"),
    )
    all_of_them = endpoints(made)
    inside: dict[str, Any] = {}
    for function in dict.fromkeys(e.function for e in all_of_them):
        _progress(f"{function}, in process")
        handler = running.functions[function].handler
        first = size.http + over_http.WARM
        asked = {"function": function, "handler": handler, "data": asdict(made), "first": first}
        inside |= _inside(running, function, "endpoints", asked | {"samples": size.samples})
    rows = []
    for endpoint in all_of_them:
        _progress(f"{endpoint.name}, over HTTP")
        rows.append(_row(endpoint, running, made, inside[endpoint.name], size))
    return table(titles, rows)


def _row(
    endpoint: Endpoint, running: Stack, made: Data, inside: dict[str, Any], size: BenchSize
) -> list[str]:
    ours, theirs, share = inside["handler"], inside["bare"], inside["share"]
    ratio = ours["p50"] / theirs["p50"]
    http = ["", "", ""]
    if endpoint.over_http:
        http = _three(over_http.measure(running, made, endpoint, size.http))
    by_id = endpoint.name.startswith("GET") and endpoint.name.endswith("{id}")
    return [
        endpoint.name,
        *http,
        *_three(ours),
        f"{share['postgres']:.0%}",
        f"{share['redis']:.0%}",
        *(f"{ours[process]:.2f}" for process in PROCESSES),
        *_three(theirs)[:2],
        f"{ratio:.2f}",
        verdict(ratio, BY_ID) if by_id else "",
    ]


def _three(summary: dict[str, float]) -> list[str]:
    per_cpu = f"{summary['per_cpu']:.0f}" if summary["per_cpu"] else "-"
    return [f"{summary['p50']:.2f}", f"{summary['p99']:.2f}", per_cpu]


def _cpu(running: Stack, made: Data, size: BenchSize) -> str:
    """Return what a mock run costs beside getting an agent, in one process and in turns."""
    _progress("processor time of a run")
    asked = {"data": asdict(made), "rounds": max(size.samples // 50, 1)}
    measured = _inside(running, "RunsFunction", "cpu", asked)
    rows = [
        [name, *(f"{summary[process]:.2f}" for process in PROCESSES)]
        for name, summary in measured.items()
    ]
    return table(("ms of processor time a request", *PROCESSES), rows)


def _floor(running: Stack, made: Data, size: BenchSize) -> str:
    """Return one row for each layer around a handler that does nothing."""
    _progress("framework and observability")
    asked = {"data": asdict(made), "samples": size.samples}
    measured = _inside(running, "SystemFunction", "floor", asked)
    budgeted = "FastAPI and Mangum, async def"
    rows = [
        [
            name,
            f"{summary['p50'] * 1000:.0f}",
            f"{summary['p99'] * 1000:.0f}",
            verdict(summary["p50"] * 1000, FRAMEWORK_MICROSECONDS) if name == budgeted else "",
        ]
        for name, summary in measured.items()
    ]
    return table(("handler", "p50 µs", "p99", f"≤ {FRAMEWORK_MICROSECONDS}"), rows)


def _cold(running: Stack, made: Data, size: BenchSize) -> str:
    """Return one row a function: the medians of its starts."""
    _progress("cold starts")
    measured = cold.measure(running, made, size.rounds)
    drivers = sum(measured[name].medians()[0] for name in cold.DRIVERS)
    rows = []
    for name, starts in measured.items():
        imports, whole, uncompiled = starts.medians()
        ratio = imports / drivers
        budgeted = name in {"ToolsFunction", "AgentsFunction"}
        rows.append(
            [
                name,
                f"{imports:.0f}",
                f"{whole:.0f}",
                f"{uncompiled:.0f}" if uncompiled else "-",
                f"{ratio:.2f}",
                verdict(ratio, ROOM_IMPORTS) if budgeted else "",
            ]
        )
    titles = (
        *("process", "imports ms", "up to its first answer ms", "without byte code ms"),
        *("imports / both drivers'", f"≤ {ROOM_IMPORTS:g}"),
    )
    return table(titles, rows)


def _steps(running: Stack, made: Data, size: BenchSize) -> str:
    """Return what the engine costs for each step, beside its two writes alone."""
    _progress("steps of a run")
    asked = {"data": asdict(made), "samples": max(size.samples // 20, 2)}
    measured = _inside(running, "WorkerFunction", "steps", asked)
    few, many, bare = (measured[name]["p50"] for name in ("few", "many", "bare"))
    steps = MANY - FEW
    each, alone = (many - few) / steps, bare / steps
    row = [f"{steps} steps more", f"{each:.2f}", f"{alone:.2f}", f"{each / alone:.2f}"]
    titles = ("of a run", "engine, ms a step", "its two writes, bare", "engine / bare")
    return table((*titles, f"a run of {FEW} steps, ms"), [[*row, f"{few:.2f}"]])


def _background(running: Stack, made: Data, size: BenchSize) -> str:
    """Return how many runs go through the background, and how long each takes."""
    _progress("runs in the background")
    told = background.measure(running, made, size.runs)
    figures = [f"{told[name]:.1f}" for name in ("accepted", "done")]
    figures += [f"{told[name]:.0f}" for name in ("p50", "p95")]
    titles = ("at once", "accepted a second", "done a second", "p50 ms from request to end", "p95")
    return table(titles, [[f"{size.runs} runs", *figures]])


def _neighbours(running: Stack, size: BenchSize) -> str:
    """Return what a quiet tenant feels of one that sends ten times its limit."""
    _progress("a quiet tenant beside a noisy one")
    told = neighbours.measure(running, size.turns, size.seconds)
    noisy, alone = told["noisy"], told["alone"]
    rows = []
    for name in ("alone", "beside"):
        of = told[name]
        ratio = of["p99"] / alone["p99"]
        figures = [f"{of['p50']:.2f}", f"{of['p99']:.2f}", f"{of['refused']:.0f}"]
        compared = [f"{ratio:.2f}", verdict(ratio, BESIDE_NOISE)] if name == "beside" else ["", ""]
        sent = [f"{noisy['sent']:.0f}", f"{noisy['refused']:.0f}"] if name == "beside" else ["", ""]
        rows.append([name, *figures, *compared, *sent])
    titles = ("the quiet tenant", "p50 ms", "p99", "429s", "p99 / alone", f"≤ {BESIDE_NOISE:g}")
    return table((*titles, "the noisy one sent", "of them 429"), rows)


def _history(running: Stack, size: BenchSize) -> str:
    """Return one row for each way to a page of a long history."""
    _progress(f"history: {size.rows:,} rows are made")
    history = data.fill_history(running, size.rows)
    _progress("history: pages")
    asked = {"history": asdict(history), "samples": size.samples}
    measured = _inside(running, "HistoryFunction", "history", asked)
    names = {
        "first": "first page",
        "cursor": f"page behind {history.deep:,} rows, by cursor",
        "offset": f"page behind {history.api_offset:,} rows, by offset",
        "deep_offset": f"OFFSET {history.deep:,}, the query alone",
        "total": "first page, with the count of all",
    }
    rows = []
    for key, name in names.items():
        ratio = measured[key]["p50"] / measured["first"]["p50"]
        figures = [f"{measured[key]['p50']:.2f}", f"{measured[key]['p99']:.2f}", f"{ratio:.2f}"]
        rows.append([name, *figures, verdict(ratio, DEEP) if key == "cursor" else ""])
    return table(("of the history", "p50 ms", "p99", "/ first page", f"≤ {DEEP:g}"), rows)


def _inside(running: Stack, function: str, what: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Return what `scripts.bench.inside` measures in the environment of a function."""
    question, answer = running.folder / "asked.json", running.folder / "told.json"
    question.write_text(json.dumps(asked))
    subprocess.run(
        [sys.executable, "-u", "-m", "scripts.bench.inside", what, str(question), str(answer)],
        cwd=ROOT,
        env=running.environment(function),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    told: dict[str, Any] = json.loads(answer.read_text())
    return told


def _machine(running: Stack) -> str:
    models = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    with running.admin() as conn:
        [postgres] = conn.execute("show server_version").fetchone() or ["?"]
    with Redis(unix_socket_path=f"{running.sockets}/redis.sock") as redis:
        server = redis.info("server")["redis_version"]
    return (
        f"{os.cpu_count()} cores ({(models or ['?'])[0]}), Python {platform.python_version()}, "
        f"Postgres {postgres}, Redis {server}, psycopg {psycopg.__version__}"
    )


def _print(title: str, part: str) -> None:
    print(f"\n## {title}\n\n{part}", flush=True)


def _progress(text: str) -> None:
    print(f"... {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
