"""Runs as history: lists, exports, and usage added up."""

import json

from functions.executions.models import (
    DailyUsage,
    ExportQuery,
    HistoryQuery,
    UsageQuery,
    UsageReport,
)
from mini_agent.data import db
from mini_agent.executions import Execution
from mini_agent.http import pagination
from mini_agent.identity.callers import Caller

MAX_EXPORT_BYTES = 4_000_000
"""Of an exported page, as the JSON string inside Lambda's response, which may have 6 MB."""

EXPORT_BATCH = 100
"""Runs read at a time: responses may be long, and a page ends early because of them."""


def list_page(caller: Caller, query: HistoryQuery) -> pagination.Page[Execution]:
    """Return a page of executions, newest first."""
    return pagination.fetch(caller, "executions", query, Execution)


def export(caller: Caller, query: ExportQuery) -> tuple[list[str], str | None]:
    """Return executions as lines of JSON, newest first, and the cursor of the next page.

    As many as the query asks for or MAX_EXPORT_BYTES can hold, but at least one.
    """
    lines: list[str] = []
    bytes_left, cursor, last = MAX_EXPORT_BYTES, query.cursor, None
    while True:
        batch = query.history_query(min(query.limit - len(lines), EXPORT_BATCH), cursor)
        page = list_page(caller, batch)
        for item in page.items:
            line = f"{item.model_dump_json()}\n"
            bytes_left -= len(json.dumps(line))
            if bytes_left < 0 and last:
                return lines, pagination.cursor(caller, "executions", batch, last)
            lines.append(line)
            last = item
        cursor = page.next_cursor
        if cursor is None or len(lines) == query.limit:
            return lines, cursor


def usage(caller: Caller, query: UsageQuery) -> UsageReport:
    """Return the tenant's usage by day, model and agent."""
    found = db.read(caller, db.Query("executions/list_usage", query.model_dump(), DailyUsage))
    return UsageReport(items=found)
