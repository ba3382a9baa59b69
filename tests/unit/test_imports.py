"""What a function's imports do and do not do, and the files that its layer has."""

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mini_agent.data import queries, redis_client
from mini_agent.settings import settings

ROOT = Path(__file__).parents[2]
APPS = sorted((ROOT / "functions").glob("*/*app.py"))
ROOMS = sorted({path.parent for path in APPS})
PROBE = """
import importlib, socket, sys

def refuse(*_, **__):
    raise AssertionError("an import wants more than to be imported")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
for app in sys.argv[1:]:
    assert callable(importlib.import_module(f"functions.{app}").handler)

from mini_agent import settings
from mini_agent.data import db, redis_client

assert not settings.settings.cache_info().misses, "settings are read at import"
assert db._connection is None
assert not redis_client.client.cache_info().misses
assert "boto3" not in sys.modules, "boto3 takes as long to import as FastAPI"
"""


def test_importing_the_rooms_reads_no_setting_and_opens_no_connection() -> None:
    ran = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-c",
            PROBE,
            *(f"{app.parent.name}.{app.stem}" for app in APPS),
        ],
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'layers/shared'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("plain", ["authorizer", "migrate"])
def test_what_speaks_no_http_starts_without_the_framework_and_the_limiter(plain: str) -> None:
    code = f"import sys, functions.{plain}.app; print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'layers/shared'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"fastapi", "starlette", "mangum", "redis"} & set(ran.stdout.split())


def test_a_room_imports_no_other_room() -> None:
    assert len(ROOMS) >= 7
    for room in ROOMS:
        code = "".join(file.read_text() for file in room.rglob("*.py"))
        assert {*re.findall(r"(?:from|import) functions\.?(\w*)", code)} <= {room.name}


def test_the_script_and_the_queries_are_found_from_the_shared_layer() -> None:
    assert "redis.call('TIME')" in redis_client.script_text("sliding_window")
    assert queries.load("tools/get").startswith(b"-- ")


def test_making_the_limiters_client_and_script_connects_to_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caches = (settings, redis_client.client, redis_client._script)
    with monkeypatch.context() as environment:
        environment.setenv("MAP_REDIS_URL", "redis://redis.example:6379")
        for cached in caches:
            cached.cache_clear()
        assert redis_client._script("sliding_window").script == redis_client.script_text(
            "sliding_window"
        )
    for cached in caches:
        cached.cache_clear()


def is_deferred(node: ast.AST) -> bool:
    """Tell whether a statement's body does not run as its module loads."""
    if isinstance(node, ast.If):
        return ast.unparse(node.test) == "TYPE_CHECKING"
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def imports_of(file: Path) -> set[str]:
    """Return the modules that a file imports as it loads."""
    found: set[str] = set()
    deferred: set[ast.AST] = set()
    for node in ast.walk(ast.parse(file.read_text())):  # parents come before their children
        if is_deferred(node):
            deferred |= {*ast.walk(node)}
        elif node in deferred:
            continue
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def modules() -> dict[str, set[str]]:
    """Return our modules, each with those of ours that it imports."""
    files = {
        ".".join(file.relative_to(base).with_suffix("").parts).removesuffix(".__init__"): file
        for base, folder in (
            *((ROOT, name) for name in ("functions", "local", "scripts")),
            (ROOT / "cli", "map_cli"),
            (ROOT / "layers/shared", "mini_agent"),
        )
        for file in (base / folder).rglob("*.py")
    }
    return {name: (imports_of(file) & files.keys()) - {name} for name, file in files.items()}


def test_no_module_imports_itself_by_way_of_others() -> None:
    sorter = graphlib.TopologicalSorter(modules())
    sorter.prepare()  # raises CycleError, which names the circle


def test_what_is_deployed_imports_nothing_that_is_for_this_machine() -> None:
    known = modules()
    assert {"functions.runs.app", "local.gateway", "map_cli.main", "scripts.demo"} <= known.keys()
    allowed = {
        "mini_agent": {"mini_agent"},
        "functions": {"functions", "mini_agent"},
        "map_cli": {"map_cli"},
        "local": {"local"},
    }
    for name, imported in known.items():
        package = name.partition(".")[0]
        used = {other.partition(".")[0] for other in imported}
        assert used <= allowed.get(package, used), name
