"""What the local run prints: readable lines, coloured on a terminal alone."""

import io
import json
import re
from pathlib import Path

import pytest

from local.proxy import Request
from local.terminal import LogFollower, Painter, is_error, is_metric

RED, GREEN = "\x1b[31m", "\x1b[32m"
ENTRY = {
    "level": "WARNING",
    "location": "_call:12",
    "message": "a tool failed",
    "timestamp": "2026-11-25 10:11:12,345+0000",
    "service": "mini-agent-platform",
    "function_request_id": "r-1",
    "tenant_id": "t",
    "steps": 3,
}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def request(**fields: object) -> Request:
    made = Request(method="GET", path="/api/v1/tools")
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def test_a_request_is_one_line_with_its_tenant() -> None:
    line = Painter(io.StringIO()).request(
        request(query="limit=1", authorizer={"tenant_id": "the-tenant"}), 200
    )
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d GET    /api/v1/tools\?limit=1 200 \d+ ms tenant the-tenant", line
    )


def test_a_request_of_nobody_has_no_tenant() -> None:
    assert Painter(io.StringIO()).request(request(), 401).endswith(" 401 0 ms tenant -")


def test_a_terminal_shows_colours_by_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    painter = Painter(Terminal())
    assert f"{GREEN}200" in painter.request(request(), 200)
    assert f"{RED}502" in painter.request(request(), 502)


def test_no_color_and_what_is_no_terminal_get_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b" not in Painter(io.StringIO()).request(request(), 200)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in Painter(Terminal()).request(request(), 200)


def test_what_clients_send_does_not_steer_the_terminal() -> None:
    line = Painter(io.StringIO()).request(request(path="/a\x1b[2J\u202e"), 200)
    assert "/a\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER} 200" in line
    assert "\x1b" not in Painter(io.StringIO()).log_line("F", json.dumps(ENTRY | {"x": "\x1b"}))


def test_a_log_line_tells_time_function_level_message_request_and_the_other_fields() -> None:
    line = Painter(io.StringIO()).log_line("RunsFunction", json.dumps(ENTRY))
    assert line == "10:11:12 RunsFunction WARNING a tool failed request=r-1 tenant_id=t steps=3"


def test_an_exception_is_shown_with_its_traceback() -> None:
    entry = ENTRY | {"level": "ERROR", "exception": "Traceback:\n  File x\nKeyError: 'a'"}
    first, *trace = Painter(io.StringIO()).log_line("F", json.dumps(entry)).splitlines()
    assert first.startswith("10:11:12 F ERROR a tool failed")
    assert trace == ["Traceback:", "  File x", "KeyError: 'a'"]


def test_a_plain_line_stays_as_it_is() -> None:
    assert Painter(io.StringIO()).log_line("F", "  File x, line 3") == "F   File x, line 3"
    assert Painter(io.StringIO()).log_line("F", "[1]") == "F [1]"


def test_errors_and_plain_text_need_attention() -> None:
    assert is_error("Traceback (most recent call last):")
    assert is_error(json.dumps(ENTRY | {"level": "ERROR"}))
    assert not is_error(json.dumps(ENTRY))
    assert is_metric('{"_aws":{"Timestamp":1}}')


def test_logs_are_followed_by_whole_lines_and_through_an_empty_file(tmp_path: Path) -> None:
    log = tmp_path / "F.log"
    log.write_text("old\nlast\n")
    follower = LogFollower(tmp_path, lines=1)
    assert follower.read() == [("F", "last")]
    with log.open("a") as file:
        file.write('{"_aws":{}}\nhal')
        file.flush()
        assert follower.read() == []
        file.write("f\n")
    (tmp_path / "G.log").write_text("new\n")
    assert follower.read() == [("F", "half"), ("G", "new")]
    log.write_text("a\n")
    assert follower.read() == [("F", "a")]
