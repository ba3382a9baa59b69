"""A transaction of several reads and writes."""

from contextvars import Context

import pytest

from functions.tools.models import ToolCreate
from mini_agent.data import db
from mini_agent.identity.callers import Caller
from tests.conftest import Connection
from tests.integration.client import TOOL


class ToolName:
    """A row; tests only need its name."""

    def __init__(self, name: str, **_: object) -> None:
        self.name = name


CREATE = {
    name: db.Query("tools/create", ToolCreate(**TOOL | {"name": name}).model_dump(), ToolName)
    for name in ("a", "b")
}
NO_FILTERS = {"name": None, "agent_name": None, "after_time": None, "after_id": None}
LIST = db.Query("tools/list", NO_FILTERS | {"limit": 10, "offset": 0}, ToolName)


def count(admin: Connection) -> int:
    return admin.execute("select from app.tools").rowcount


def test_what_is_joined_is_committed_together_or_not_at_all(
    tenant: Caller, admin: Connection
) -> None:
    said: list[str] = []
    with db.Transaction() as transaction:
        db.write(tenant, CREATE["a"])
        db.after_commit(lambda: said.append("after"))
        assert count(admin) == 0
        assert [tool.name for tool in db.read(tenant, LIST)] == ["a"]
    assert (count(admin), said) == (0, [])
    with db.Transaction() as transaction:
        db.write(tenant, CREATE["a"])
        db.after_commit(lambda: said.append(str(count(admin))))
        transaction.commit(tenant, CREATE["b"])
    assert (count(admin), said) == (2, ["2"])
    db.after_commit(lambda: said.append("at once"))
    assert said == ["2", "at once"]


def test_after_a_refusal_reads_go_on_alone_and_a_write_would_be_half_an_effect(
    tenant: Caller, admin: Connection
) -> None:
    with db.Transaction() as transaction:
        db.write(tenant, CREATE["a"])
        refusals = {"tools_name_unique": KeyError("taken")}
        with pytest.raises(KeyError):
            db.write(tenant, CREATE["a"], refusals=refusals)  # type: ignore[arg-type]
        assert db.read(tenant, LIST) == []
        with pytest.raises(RuntimeError):
            db.write(tenant, CREATE["b"])
        with pytest.raises(RuntimeError):
            transaction.commit(tenant, CREATE["b"])
    assert count(admin) == 0


def test_a_transaction_is_joined_in_its_own_context_only() -> None:
    with db.Transaction() as transaction:
        assert db.Transaction.current() is transaction
        assert Context().run(db.Transaction.current) is None
    assert db.Transaction.current() is None


def test_after_its_commit_nothing_of_a_transaction_stays_open(
    tenant: Caller, admin: Connection
) -> None:
    with db.Transaction() as transaction:
        transaction.commit(tenant, CREATE["a"])
        db.write(tenant, CREATE["b"])  # begins another, which nobody commits
    assert count(admin) == 1
    assert [tool.name for tool in db.read(tenant, LIST)] == ["a"]
