"""Each command against a platform: what people see, and what programs read."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Map, Platform

AGENT = ("--role", "researcher", "--description", "Finds things out")
ENDPOINT: dict[str, Any] = {
    "method": "GET",
    "url": "https://news.example.com/?q={query}",
    "timeout_seconds": 5,
}


def make_agent(user: Map, name: str = "Ann", *options: str) -> str:
    return str(user.json("agents", "create", name, *AGENT, *options)["id"])


def make_tool(platform: Platform, user: Map, *options: str) -> None:
    """Make the tool that the model asks for."""
    endpoint = json.dumps({"method": "POST", "url": platform.upstreams.web.url})
    user("tools", "create", "look", "--description", "d", "--endpoint", endpoint, *options)


# ── Tools and agents ────────────────────────────────────────────────────────────────────────────
def test_a_tool_is_created_shown_changed_and_deleted(user: Map, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object"}')
    made = user.json(
        *("tools", "create", "news", "--description", "Search", "--idempotent"),
        *("--parameters", f"@{schema}", "--endpoint", json.dumps(ENDPOINT)),
    )
    assert made["parameters"] == {"type": "object"}
    assert made["endpoint"] == ENDPOINT | {"headers": {}}
    assert made["idempotent"]
    assert user.json("tools", "get", "news") == user.json("tools", "get", made["id"]) == made
    shown = user("tools", "get", "news").stdout
    assert ENDPOINT["url"] in shown
    assert made["id"] in shown
    changed = user.json("tools", "update", "news", "--name", "old", "--endpoint", "null")
    assert (changed["name"], changed["endpoint"], changed["idempotent"]) == ("old", None, True)
    user("tools", "delete", made["id"])
    assert user.json("tools", "list")["items"] == []
    assert "None of the tools is called old" in user("tools", "get", "old", code=1).stderr


@pytest.mark.parametrize("text", ["{", "@/nowhere"])
def test_what_is_no_json_is_wrong_usage(user: Map, text: str) -> None:
    told = user("tools", "create", "t", "--description", "d", "--parameters", text, code=2)
    assert "--parameters" in told.stderr


def test_an_agent_has_tools_by_name_and_id(user: Map) -> None:
    tool = user.json("tools", "create", "one", "--description", "d")["id"]
    user("tools", "create", "two", "--description", "d")
    agent = user.json("agents", "create", "Ann", *AGENT, "--tool", tool, "--tool", "two")
    assert [tool["name"] for tool in agent["tools"]] == ["one", "two"]
    assert user.json("agents", "get", "Ann") == agent
    assert "one, two" in user("agents", "list").stdout
    in_use = user("tools", "delete", "one", code=1).stderr
    assert "(TOOL_IN_USE)" in in_use
    assert "Ann" in in_use
    changed = user.json("agents", "update", "Ann", "--role", "cook", "--tool", "two")
    assert ([t["name"] for t in changed["tools"]], changed["role"]) == (["two"], "cook")
    assert user.json("agents", "update", "Ann", "--no-tools")["tools"] == []
    user("agents", "delete", "Ann")
    assert "Nothing found" in user("agents", "list").stderr


# ── Lists ───────────────────────────────────────────────────────────────────────────────────────
def test_a_list_has_a_page_or_all_pages(user: Map) -> None:
    for number in range(3):
        user("tools", "create", f"tool-{number}", "--description", "d")
    told = user("tools", "list", "--limit", "2")
    assert "tool-1" in told.stdout
    assert "tool-2" not in told.stdout
    assert "--all" in told.stderr
    told = user("tools", "list", "--all")
    assert "tool-2" in told.stdout
    assert not told.stderr
    assert user.json("tools", "list", "--limit", "2")["has_more"]


def test_all_pages_are_one_document(user: Map, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("map_cli.client.MAX_PAGE_SIZE", 2)
    for number in range(5):
        user("tools", "create", f"tool-{number}", "--description", "d")
    found = user.json("tools", "list", "--all")
    assert [tool["name"] for tool in found["items"]] == [f"tool-{n}" for n in range(5)]
    assert (found["has_more"], found["next_cursor"]) == (False, None)


@pytest.mark.parametrize("columns", [80, 120])
def test_a_table_fits_the_terminal_and_keeps_ids_whole(user: Map, columns: int) -> None:
    made = user.json("tools", "create", "a name of some length", "--description", "long " * 50)
    user.env = {"COLUMNS": str(columns)}
    shown = user("tools", "list").stdout
    assert max(map(len, shown.splitlines())) <= columns
    assert made["id"] in shown


def test_in_a_pipe_an_item_is_a_line(user: Map) -> None:
    user("tools", "create", "a name of some length", "--description", "long " * 50)
    [_, line] = user("tools", "list").stdout.splitlines()
    assert "a name of some length" in line
    assert line.count("long") < 20


def test_what_others_wrote_does_not_steer_the_terminal(user: Map) -> None:
    user("tools", "create", "evil", "--description", "[red]\x1b]0;title\x07\x9b2J\u202e[/red]")
    for command in ("list", "get"):
        shown = user("tools", command, *(["evil"] if command == "get" else [])).stdout
        assert not set(shown) & set("\x1b\x07\x9b\u202e")
        assert "[red]" in shown
    assert "\x9b" not in user("tools", "list", "--json").stdout


# ── Runs and their history ──────────────────────────────────────────────────────────────────────
def test_models_are_listed_with_their_prices(user: Map) -> None:
    assert "gpt-4o" in user("models").stdout
    assert user.json("models")["items"][0].keys() >= {"name", "provider"}


def test_a_run_answers_and_is_in_the_history(platform: Platform, user: Map, tmp_path: Path) -> None:
    make_tool(platform, user)
    agent = make_agent(user, "Ann", "--tool", "look")
    told = user("runs", "start", "Ann", "-", stdin="a case")
    assert told.stdout == "All done for a case\n"
    assert told.stderr.startswith("completed (answered): 3 steps, ")
    run = user.json("runs", "start", agent, "another case", "--max-steps", "9")
    assert (run["status"], run["response"]) == ("completed", "All done for another case")

    [other, first] = user.json("history", "list", "--agent", "Ann")["items"]
    assert (other["id"], first["prompt"]) == (run["execution_id"], "a case")
    assert user.json("history", "get", first["id"]) == first
    assert "another case" in user("history", "list", "--status", "completed").stdout
    assert user.json("runs", "get", first["id"])["steps"] == 3
    assert [s["kind"] for s in user.json("runs", "steps", first["id"])["items"]] == [
        "model",
        "tool",
        "model",
    ]
    assert "look" in user("runs", "steps", first["id"]).stdout
    [day] = user.json("usage", "--agent", "Ann")["items"]
    assert (day["runs"], day["model"]) == (2, "gpt-4o")
    assert "gpt-4o" in user("usage").stdout


def test_a_run_that_reaches_a_cap_fails(platform: Platform, user: Map) -> None:
    make_tool(platform, user)
    make_agent(user, "Ann", "--tool", "look")
    told = user("runs", "start", "Ann", "capped", "--max-steps", "1", code=1)
    assert "(max_steps)" in told.stderr
    assert user.json("runs", "start", "Ann", "again", "--max-steps", "1", code=1)["stop_reason"]


def test_the_history_is_exported_whole(
    user: Map, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("map_cli.history.CHUNK", 2)
    make_agent(user)
    for number in range(3):
        user("runs", "start", "Ann", f"case {number}")
    file = tmp_path / "history.ndjson"
    user("history", "export", "--output", str(file))
    lines = file.read_text().splitlines()
    assert sorted(json.loads(line)["prompt"] for line in lines) == ["case 0", "case 1", "case 2"]
    assert user("history", "export").stdout == file.read_text()
    assert [path.name for path in tmp_path.iterdir() if "ndjson" in path.name] == [file.name]
    assert not user("history", "export", "--created-before", "2020-01-01T00:00:00Z").stdout
    told = user("history", "export", "--output", str(tmp_path / "no" / "where"), code=1)
    assert "cannot be written" in told.stderr


# ── Secrets and keys ────────────────────────────────────────────────────────────────────────────
def test_a_secret_is_set_from_stdin_and_told_nowhere(user: Map) -> None:
    told = user("secrets", "set", "token", stdin="canary-71b2ce\n").output
    told += user("secrets", "list").output + user("secrets", "list", "--json").output
    assert "token" in told
    assert "canary-71b2ce" not in told
    assert not user.home.exists()
    user("secrets", "delete", "token")
    assert "(SECRET_NOT_FOUND)" in user("secrets", "delete", "token", code=1).stderr


def test_a_new_key_is_shown_once_and_works(user: Map) -> None:
    told = user("keys", "create", "Reports", "--scope", "tools:read", "--scope", "history:read")
    assert "shown only this once" in told.stderr
    [key] = [word for word in told.stdout.split() if word.startswith("map_live_") and word[9:]]
    assert key not in user("keys", "list").output
    [kept] = user.json("keys", "list", "--name", "Reports")["items"]
    assert kept["scopes"] == ["history:read", "tools:read"]

    rotated = user.json("keys", "rotate", kept["id"], "--overlap-seconds", "0")
    assert key_works(user, rotated["key"]) == 0
    assert key_works(user, key) == 3
    user("keys", "revoke", rotated["id"])
    assert key_works(user, rotated["key"]) == 3


def key_works(user: Map, key: str) -> int:
    other = Map(user.home, user.url, key)
    [code] = [code for code in (0, 3) if _ends(other, code)]
    return code


def _ends(user: Map, code: int) -> bool:
    try:
        user("history", "list", code=code)
    except AssertionError:
        return False
    return True


def test_the_audit_log_tells_who_changed_what(user: Map) -> None:
    made = user.json("tools", "create", "web", "--description", "d")
    [entry] = user.json("audit", "--target-id", made["id"])["items"]
    assert entry["target_type"] == "tool"
    assert made["id"] in user("audit").stdout


# ── The platform's operators ────────────────────────────────────────────────────────────────────
@pytest.fixture
def operator(platform: Platform, nobody: Map) -> Map:
    """Somebody with an operator's key, as `map admin bootstrap` has made it."""
    nobody.url = platform.stack.url
    data = str(platform.stack.data)
    nobody.key = nobody.json("admin", "bootstrap", "me", "--local", "--data", data)["key"]
    return nobody


def test_a_bootstrap_tells_its_key_once(platform: Platform, nobody: Map) -> None:
    told = nobody("admin", "bootstrap", "me", "--local", "--data", str(platform.stack.data))
    assert "map_live_" in told.stdout
    assert "shown only this once" in told.stderr


def test_a_tenant_is_created_limited_suspended_and_deleted(operator: Map, tmp_path: Path) -> None:
    def tenants(*words: str) -> Any:
        return operator.json("admin", "tenants", *words)

    made = tenants("create", "Acme", "--requests-per-minute", "50", "--concurrent-runs", "2")
    limits = made["limits"]
    assert (limits["requests_per_minute"], limits["concurrent_runs"]) == (50, 2)
    tenant = Map(tmp_path / "tenant", operator.url, made["key"])
    tenant("tools", "list")
    changed = tenants("change", "Acme", "--concurrent-runs", "null", "--retention-days", "30")
    assert (changed["limits"]["concurrent_runs"], changed["retention_days"]) == (None, 30)
    assert changed["limits"]["requests_per_minute"] == 50
    assert tenants("get", made["id"]) == changed
    assert "Acme" in operator("admin", "tenants", "list", "--name", "Acme").stdout
    assert tenants("usage", "Acme") == {"items": []}
    assert tenants("suspend", "Acme")["status"] == "suspended"
    tenant("tools", "list", code=3)
    assert tenants("resume", "Acme")["status"] == "active"
    key = tenants("key", "Acme", "spare", "--scope", "tools:read")["key"]
    Map(tmp_path / "tenant", operator.url, key)("tools", "list")
    told = operator("admin", "tenants", "delete", "Acme", stdin="n\n", code=1)
    assert "Delete Acme and all its data?" in told.stderr
    assert tenants("get", "Acme")["status"] == "active"
    assert tenants("delete", made["id"], "--yes", "--grace-days", "1")["status"] == "deleted"
    entries = operator.json("admin", "audit", "--tenant", made["id"], "--all")["items"]
    assert {entry["tenant_id"] for entry in entries} == {made["id"]}
    assert made["id"] in operator("admin", "audit").stdout


def test_a_tenants_key_is_no_operators(user: Map) -> None:
    assert "platform:admin" in user("admin", "tenants", "list", code=1).stderr
