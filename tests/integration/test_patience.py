"""A deployment's first minutes, in which the proxy is there and the database behind it is not."""

from typing import Any

import psycopg
import pytest

from functions.migrate import app
from local import backends


def test_migrations_wait_for_a_database_that_is_not_there_yet(
    postgres: backends.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = psycopg.connect
    tried: list[str] = []

    def refuse_twice(**where: Any) -> Any:
        tried.append(where["user"])
        if len(tried) < 3:
            raise psycopg.OperationalError("no target")
        return connect(**where)

    monkeypatch.setattr(psycopg, "connect", refuse_twice)
    monkeypatch.setattr(app, "PAUSE_SECONDS", 0)
    app._await_database()
    assert tried == ["postgres"] * 3


def test_migrations_give_up_in_time_to_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise psycopg.OperationalError("no target")

    monkeypatch.setattr(psycopg, "connect", refuse)
    monkeypatch.setattr(app, "PATIENCE_SECONDS", 0)
    with pytest.raises(psycopg.OperationalError, match="no target"):
        app._await_database()
    assert app.PAUSE_SECONDS > 0
