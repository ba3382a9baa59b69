"""`make bench`, a few of each."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECONDS = 600  # only to end what hangs


def rows(said: str, title: str) -> dict[str, list[str]]:
    """Return the cells behind the first one of each row of a table, by that one."""
    section = re.split(r"^## ", said, flags=re.MULTILINE)
    [lines] = [part.splitlines() for part in section if part.startswith(title)]
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines if "|" in line]
    return {first: others for first, *others in cells[2:]}


def test_the_bench_tells_every_endpoint_every_cold_start_and_a_deep_history() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "scripts.bench", "--quick"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    paths = json.loads((ROOT / "functions/system/openapi.json").read_text())["paths"]
    documented = {
        re.sub(r"{\w+}", "{id}", f"{method.upper()} {path}")
        for path, operations in paths.items()
        for method in operations
    }
    endpoints = rows(run.stdout, "Endpoints")
    assert endpoints.keys() == documented | {"authorizer"}
    for name in documented:
        *figures, by_id = endpoints[name]
        assert all(re.match(r"\d", figure) for figure in figures[:2] + figures[3:])
        assert (by_id in {"ok", "over"}) == bool(re.fullmatch(r"GET .*{id}", name))
    for figures in rows(run.stdout, "Processor time of a run").values():
        assert all(float(figure) >= 0 for figure in figures)
    rooms = {path.parent.name for path in (ROOT / "functions").glob("*/app.py")}
    rooms |= {path.stem.removesuffix("_app") for path in (ROOT / "functions").glob("*/*_app.py")}
    starts = rows(run.stdout, "Cold starts")
    functions = {f"{room.title()}Function" for room in {*rooms, "worker"}}
    assert starts.keys() == functions | {"psycopg", "redis-py"}
    assert starts["ToolsFunction"][-1] in {"ok", "over"}
    assert "FastAPI and Mangum, async def" in rows(run.stdout, "An event")
    [steps] = rows(run.stdout, "Steps of a run").values()
    [background] = rows(run.stdout, "Runs in the background").values()
    assert all(float(figure) > 0 for figure in [*steps, *background])
    noisy = rows(run.stdout, "Beside a noisy tenant")
    assert [noisy[name][2] for name in ("alone", "beside")] == ["0", "0"]
    deep = rows(run.stdout, "A long history")["page behind 1,800 rows, by cursor"]
    assert deep[-1] in {"ok", "over"}
