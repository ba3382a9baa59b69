"""The rules of the history."""

from uuid import UUID

from functions.history.models import Execution, HistoryQuery, UsageOfDay, UsageQuery, UsageReport
from mini_agent import db, page
from mini_agent.errors import ExecutionNotFound
from mini_agent.tenant import Caller


def list_page(caller: Caller, query: HistoryQuery) -> page.Page[Execution]:
    """Return a page of executions, newest first."""
    return page.fetch(caller, "history", query, Execution)


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
