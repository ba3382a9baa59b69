"""What the local run prints: a line for each request, and functions' log lines for people to read.

Lines are coloured on a terminal only, and not if NO_COLOR is set (https://no-color.org). Control
characters, which clients and models may send, never reach the terminal.
"""

from __future__ import annotations

import json
import os
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from pathlib import Path

    from local.proxy import Request

STYLES = {"dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
STATUS_STYLES = {2: "green", 3: "cyan", 4: "yellow", 5: "red"}
LEVEL_STYLES = {"DEBUG": "dim", "INFO": "green", "WARNING": "yellow"}
ERROR_LEVELS = {"ERROR", "CRITICAL"}
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
# Fields that are the same in all lines of a function, or that a line shows in another way.
LEFT_OUT = {
    *("level", "message", "timestamp", "service", "location", "cold_start", "sampling_rate"),
    *("function_name", "function_memory_size", "function_arn", "function_request_id"),
    *("exception", "exception_name", "stack_trace", "xray_trace_id"),
}


class Painter:
    """Colours texts, or leaves them as they are where the stream has no colours."""

    def __init__(self, stream: TextIO | None = None) -> None:
        stream = stream or sys.stdout
        self.has_color = stream.isatty() and not os.environ.get("NO_COLOR")

    def paint(self, style: str, text: str) -> str:
        """Return a text in one of the STYLES, without its control characters."""
        clean = CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
        return f"\x1b[{STYLES[style]}m{clean}\x1b[0m" if self.has_color and style else clean

    def request(self, request: Request, status: int) -> str:
        """Return the line of a request: time, method, path, status, milliseconds, tenant."""
        took = datetime.now(UTC) - request.time
        query = f"?{request.query}" if request.query else ""
        tenant = str(request.authorizer.get("tenant_id", "-"))
        return " ".join(
            (
                self.paint("dim", f"{request.time.astimezone():%H:%M:%S}"),
                self.paint("", f"{request.method:<6} {request.path}{query}"),
                self.paint(STATUS_STYLES.get(status // 100, ""), str(status)),
                f"{took.total_seconds() * 1000:.0f} ms",
                self.paint("dim", f"tenant {tenant}"),
            )
        )

    def log_line(self, function: str, line: str) -> str:
        """Return a line of a function's log: time, function, level, message, request, fields."""
        entry = parse(line)
        if entry is None:
            return f"{self.paint('cyan', function)} {self.paint('', line)}"
        level = str(entry["level"])
        fields = {"request": entry.get("function_request_id"), **entry}
        shown = [
            f"{name}={value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
            for name, value in fields.items()
            if name not in LEFT_OUT and value is not None
        ]
        text = " ".join(
            (
                self.paint("dim", str(entry.get("timestamp", ""))[11:19]),
                self.paint("cyan", function),
                self.paint(LEVEL_STYLES.get(level, "red"), level),
                self.paint("", str(entry.get("message", ""))),
                self.paint("dim", " ".join(shown)),
            )
        )
        trace = str(entry.get("exception") or "").rstrip()
        return f"{text.rstrip()}\n{self.paint('red', trace)}" if trace else text.rstrip()


def parse(line: str) -> dict[str, Any] | None:
    """Return a structured line of a log; None for a plain one, such as a line of a traceback."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and "level" in entry else None


def is_metric(line: str) -> bool:
    """Tell whether a line is for CloudWatch's metrics, of which every request writes one."""
    return line.startswith('{"_aws":')


def is_error(line: str) -> bool:
    """Tell whether a line needs attention: an error, or text that no logger wrote."""
    entry = parse(line)
    return entry is None or entry["level"] in ERROR_LEVELS


class LogFollower:
    """Reads the functions' logs in a folder as they grow; `lines` of each are read first."""

    def __init__(self, folder: Path, lines: int = 0) -> None:
        self.folder, self.lines = folder, lines
        self._offsets: dict[Path, int] = {}
        for file in folder.glob("*.log"):
            self._offsets[file] = _offset_of_last(file, lines)

    def read(self) -> list[tuple[str, str]]:
        """Return the function and the text of each whole line that is new, without metrics."""
        found = []
        for file in sorted(self.folder.glob("*.log")):
            size, offset = file.stat().st_size, self._offsets.get(file, 0)
            if size == offset:
                continue
            if size < offset:  # it was emptied
                offset = 0
            with file.open("rb") as log:
                log.seek(offset)
                text, newline, _ = log.read().rpartition(b"\n")
            self._offsets[file] = offset + len(text) + len(newline)
            lines = text.decode(errors="replace").splitlines()
            found += [(file.stem, line) for line in lines if not is_metric(line)]
        return found


def _offset_of_last(file: Path, lines: int) -> int:
    """Return where a file's last lines begin."""
    content = file.read_bytes().splitlines(keepends=True)
    return sum(map(len, content[: len(content) - lines]))
