"""What a function's imports do and do not do, and the files that its layer has."""

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
