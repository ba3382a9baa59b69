"""The rules of the history."""

import json
from uuid import UUID

from functions.history.models import (
    Execution,
    ExportQuery,
    HistoryQuery,
    UsageOfDay,
    UsageQuery,
    UsageReport,
)
from mini_agent.data import db
from mini_agent.errors import ExecutionNotFound
from mini_agent.http import pagination
from mini_agent.identity.callers import Caller

MOST_BYTES = 4_000_000
"""Of an exported page, as the JSON text that Lambda wraps it in, which may have 6 MB."""

MOST_READ = 100
"""Executions that are read at a time: answers may be long, and a page short because of them."""


def list_page(caller: Caller, query: HistoryQuery) -> pagination.Page[Execution]:
    """Return a page of executions, newest first."""
    return pagination.fetch(caller, "history", query, Execution)


def export(caller: Caller, query: ExportQuery) -> tuple[list[str], str | None]:
    """Return executions as lines of JSON, newest first, and the cursor of those that follow.

    As many as asked for, or as fit into MOST_BYTES, but one at least.
    """
    lines: list[str] = []
    room, cursor, last = MOST_BYTES, query.cursor, None
    while True:
        part = query.part(min(query.limit - len(lines), MOST_READ), cursor)
        found = pagination.fetch(caller, "history", part, Execution)
        for item in found.items:
            line = f"{item.model_dump_json()}\n"
            room -= len(json.dumps(line))
            if room < 0 and last:
                return lines, pagination.cursor(caller, "history", part, last)
            lines.append(line)
            last = item
        cursor = found.next_cursor
        if cursor is None or len(lines) == query.limit:
            return lines, cursor


def get(caller: Caller, execution_id: UUID) -> Execution:
    """Return an execution; raises ExecutionNotFound."""
    found = db.read(caller, db.Query("history/get", {"id": execution_id}, Execution))
    if not found:
        raise ExecutionNotFound(execution_id=execution_id)
    return found[0]


def usage(caller: Caller, query: UsageQuery) -> UsageReport:
    """Return the tenant's usage by day, model and agent."""
    found = db.read(caller, db.Query("history/usage", query.model_dump(), UsageOfDay))
    return UsageReport(items=found)
