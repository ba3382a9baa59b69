"""`make run` from its first line to its last."""

import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from local import backends
from tests.contract.conftest import (
    KEY_A,
    ROOT,
    LocalStack,
    StartStack,
    ctrl_c_enabled,
    finish,
    processes,
    start,
)
from tests.waiting import PATIENCE_SECONDS, until


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A platform whose servers may be killed."""
    stack = start(tmp_path_factory.mktemp("own"), "--reload")
    yield stack
    finish(stack)


def create_tool(stack: LocalStack, name: str) -> httpx.Response:
    tool = {"name": name, "description": "d"}
    headers = {"X-API-KEY": KEY_A}
    return httpx.post(f"{stack.url}/api/v1/tools", json=tool, headers=headers, timeout=30)


def tool_names(stack: LocalStack) -> set[str]:
    url = f"{stack.url}/api/v1/tools?limit=100"
    items = httpx.get(url, headers={"X-API-KEY": KEY_A}, timeout=30).json()["items"]
    return {item["name"] for item in items}


def gone(pids: set[int]) -> bool:
    return not pids & {pid for pid, _, command in processes() if command}


def say(*options: str) -> tuple[int, str]:
    """Return exit code and words of a local run that cannot start."""
    run = subprocess.run(
        [sys.executable, "-m", "local", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return run.returncode, run.stdout + run.stderr


# ── What a user sees ────────────────────────────────────────────────────────────────────────────
def test_the_curl_line_that_it_prints_works_as_pasted(local_stack: LocalStack) -> None:
    [line] = re.findall(r"^ +(curl .*)$", local_stack.said, re.MULTILINE)
    answer = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout).keys() == {"items", "has_more", "next_cursor"}
    assert f"{local_stack.url}/docs" in local_stack.said
    assert "tenant-a-key" in local_stack.said
    assert "tenant-b-key" in local_stack.said


def test_the_demo_shows_each_request_and_answer(local_stack: LocalStack) -> None:
    port = str(httpx.URL(local_stack.url).port)
    command = [sys.executable, "-m", "scripts.demo", "--port", port]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert shown.count("$ curl") == 9
    statuses = re.findall(r"^(\d{3}) ", shown, re.MULTILINE)
    assert statuses == ["200", "201", "201", "200", "200", "403", "200", "401", "409"]


def test_the_demo_without_a_platform_says_what_to_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = [sys.executable, "-m", "scripts.demo", "--port", str(port)]
    demo = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert demo.returncode == 1
    assert "start `make run`" in demo.stdout
    assert not demo.stderr


# ── What it cannot start with ───────────────────────────────────────────────────────────────────
def test_a_taken_port_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, words = say("--port", str(port), "--data", str(tmp_path))
    assert code == 1
    assert words.count("\n") == 1
    assert f"port {port}" in words
    assert "PORT=" in words


def test_a_data_folder_in_use_is_one_line(local_stack: LocalStack) -> None:
    code, words = say("--port", "0", "--data", str(local_stack.data))
    assert code == 1
    assert words.count("\n") == 1
    assert f"process {local_stack.process.pid}" in words


def test_a_data_folder_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        code, words = say("--port", "0", "--data", str(folder))
        assert code == 1
        assert words.count("\n") == 1
        assert "DATA=" in words


def test_data_of_another_postgres_is_one_line_and_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    version = tmp_path / "postgres/PG_VERSION"
    version.write_text("9\n")
    code, words = say("--port", "0", "--data", str(tmp_path))
    assert code == 1
    assert words.count("\n") == 1
    assert "made by Postgres 9" in words
    assert version.read_text() == "9\n"


def test_a_database_that_cannot_be_migrated_is_told_without_a_trace(tmp_path: Path) -> None:
    with backends.postgres(tmp_path / "postgres") as server:
        backends.create_database(server)
        with psycopg.connect(host=server.socket, user="postgres", dbname="map") as conn:
            conn.execute("create schema app")
            conn.execute("create table app.migrations (unheard_of int)")
    code, words = say("--port", "0", "--data", str(tmp_path))
    assert code == 1
    assert "make run: the database cannot be migrated: permission denied for schema app" in words
    assert "`make reset` starts with an empty one and keeps a copy" in words
    assert f"see {tmp_path}/logs/MigrateFunction.log" in words
    assert "Traceback" not in words


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops to another user")
def test_root_runs_postgres_from_a_folder_that_others_cannot_enter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = importlib.util.find_spec(backends.WHEEL)
    assert wheel
    assert wheel.origin
    packages = Path(wheel.origin).parents[1]
    for name in (backends.WHEEL, f"{backends.WHEEL}.libs"):
        shutil.copytree(packages / name, tmp_path / "packages" / name)
    (tmp_path / "packages").chmod(0o700)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as copies:
        Path(copies).chmod(0o755)
        monkeypatch.setattr(backends, "COPIES", Path(copies))
        for _ in range(2):  # the second finds the copy
            with backends.postgres(tmp_path / "postgres") as server:
                assert any(word.startswith(copies) for word in server.command)


def test_a_database_of_newer_code_is_told_with_the_local_remedy(tmp_path: Path) -> None:
    with backends.postgres(tmp_path / "postgres") as server:
        backends.create_database(server)
        with psycopg.connect(host=server.socket, user="postgres", dbname="map") as conn:
            conn.execute((ROOT / "sql/bootstrap.sql").read_bytes())
            conn.execute("set role map_owner")
            conn.execute("insert into app.migrations (version, checksum) values ('9999_later', '')")
    code, words = say("--port", "0", "--data", str(tmp_path))
    assert code == 1
    [line] = [line for line in words.splitlines() if line.startswith("make run:")]
    assert "migrations that this code does not know (9999_later)" in line
    assert "`make reset`" in line
    assert "deploy" not in line


# ── What it prints while it runs ────────────────────────────────────────────────────────────────
def test_each_request_is_a_line_and_the_error_of_a_handler_is_shown(
    start_stack: StartStack,
) -> None:
    stack = start_stack()
    create_tool(stack, "printed")
    until(lambda: re.search(r"POST   /api/v1/tools 201 \d+ ms tenant 1", stack.output))
    with psycopg.connect(
        host=stack.postgres_socket, user="postgres", dbname="map", autocommit=True
    ) as conn:
        conn.execute("alter table app.tools rename column description to lost")
    assert create_tool(stack, "broken").status_code == 500
    until(lambda: "Traceback (most recent call last)" in stack.output)
    assert "ToolsFunction ERROR" in stack.output
    until(lambda: "UndefinedColumn" in stack.output)


def test_quiet_prints_no_requests(start_stack: StartStack) -> None:
    stack = start_stack("--quiet")
    create_tool(stack, "unseen")
    stack.stop()
    assert "POST" not in stack.output


def test_the_logs_of_all_functions_are_followed(local_stack: LocalStack) -> None:
    command = [sys.executable, "-m", "local.logs", "--data", str(local_stack.data)]
    with ctrl_c_enabled():
        logs = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    with logs:
        assert logs.stdout
        assert re.match(r"\d\d:\d\d:\d\d MigrateFunction INFO ", logs.stdout.readline())
        logs.send_signal(signal.SIGINT)
        assert logs.wait(PATIENCE_SECONDS) == 0


def test_logs_that_are_not_there_are_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "local.logs", "--data", str(tmp_path)]
    logs = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert logs.returncode == 1
    assert "start `make run`" in logs.stdout
    assert logs.stdout.count("\n") == 1


# ── How it ends ─────────────────────────────────────────────────────────────────────────────────
def test_ctrl_c_stops_every_process_and_the_next_start_finds_the_data(
    start_stack: StartStack,
) -> None:
    stack = start_stack()
    assert create_tool(stack, "kept").status_code == 201
    children = set(stack.children())
    assert len(children) >= 4  # Postgres, Redis, two sandboxes
    assert stack.stop(signal.SIGINT) == 0
    assert gone(children)
    assert tool_names(start_stack()) == {"kept"}
    log = (stack.data / "postgres.log").read_text()
    assert "was not properly shut down" not in log, "the next start has nothing to recover"


def test_killing_it_leaves_no_process_and_loses_no_data(start_stack: StartStack) -> None:
    stack = start_stack()
    assert create_tool(stack, "kept").status_code == 201
    children = set(stack.children())
    stack.process.kill()
    until(lambda: gone(children))
    with (
        backends.postgres(stack.data / "postgres") as server,
        psycopg.connect(host=server.socket, user="postgres", dbname="map") as conn,
    ):
        assert conn.execute("select name from app.tools").fetchall() == [("kept",)]


# ── What it survives ────────────────────────────────────────────────────────────────────────────
def test_postgres_killed_comes_back_and_no_acknowledged_write_is_lost(
    own_stack: LocalStack,
) -> None:
    acknowledged, refused = set(), []
    for number in range(30):
        if number == 10:
            os.kill(own_stack.postgres_pid, signal.SIGKILL)
        answer = create_tool(own_stack, f"write {number}")
        if answer.status_code == 201:
            acknowledged.add(f"write {number}")
        else:
            refused.append(answer)
            until(lambda: httpx.get(f"{own_stack.url}/ready", timeout=30).status_code == 200)
    assert acknowledged >= {f"write {number}" for number in range(10)}
    assert "write 29" in acknowledged
    for answer in refused:
        assert answer.status_code >= 500
        assert answer.json().keys() == {"error_code", "message", "details"}
    assert acknowledged <= tool_names(own_stack)


def test_redis_killed_comes_back(own_stack: LocalStack) -> None:
    before = own_stack.redis_pid
    os.kill(before, signal.SIGKILL)

    def back() -> bool:
        ready = httpx.get(f"{own_stack.url}/ready", timeout=30)
        return ready.status_code == 200 and own_stack.redis_pid != before

    until(back)


def test_with_reload_a_change_of_code_replaces_the_sandboxes(own_stack: LocalStack) -> None:
    def pids() -> set[int]:
        httpx.get(f"{own_stack.url}/health", timeout=30)
        return set(own_stack.sandboxes("SystemFunction"))

    before = pids()
    changed = ROOT / "functions/system" / f"reload-{os.getpid()}.sql"
    try:
        changed.touch()
        until(lambda: not pids() & before)
    finally:
        changed.unlink()


def test_setpriv_is_there_where_this_runs() -> None:
    """Without it, nothing here would show that a killed run leaves no process."""
    assert shutil.which("setpriv")
