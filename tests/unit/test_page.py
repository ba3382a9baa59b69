"""Cursors: what they encode, and which are refused."""

import base64
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mini_agent.errors import ValidationFailed
from mini_agent.http import pagination
from mini_agent.identity.callers import Caller

ONE = Caller(uuid4(), uuid4(), frozenset(), 100)
TWO = Caller(uuid4(), uuid4(), frozenset(), 100)
times = st.datetimes(timezones=st.just(UTC))


@dataclass
class Thing:
    id: UUID
    created_at: datetime


things = st.builds(Thing, st.uuids(), times)
bytes_of_cursors = st.integers(0, 31)


def decoded(cursor: str, caller: Caller = ONE, room: str = "tools", **filters: str | None) -> Thing:
    """Return the position in a cursor."""
    time, id_ = pagination.Cursors(caller, room, filters).decode(cursor)
    return Thing(id_, time)


def encoded(thing: Thing, caller: Caller = ONE, room: str = "tools", **filters: str | None) -> str:
    """Return the cursor behind an item."""
    return pagination.Cursors(caller, room, filters).encode(thing)


@given(things)
def test_a_cursor_keeps_its_position_to_the_microsecond(thing: Thing) -> None:
    assert decoded(encoded(thing, name="web"), name="web") == thing


@given(things)
def test_a_cursor_goes_into_a_query_string_as_it_is(thing: Thing) -> None:
    assert re.fullmatch(r"[\w=-]{44}", encoded(thing), re.ASCII)


@given(things, bytes_of_cursors, st.integers(1, 255))
def test_a_change_of_any_byte_is_noticed(thing: Thing, at: int, change: int) -> None:
    raw = bytearray(base64.urlsafe_b64decode(encoded(thing)))
    raw[at] ^= change
    with pytest.raises(ValidationFailed):
        decoded(base64.urlsafe_b64encode(raw).decode())


@given(things, bytes_of_cursors)
def test_a_part_of_a_cursor_is_none(thing: Thing, length: int) -> None:
    raw = base64.urlsafe_b64decode(encoded(thing))
    with pytest.raises(ValidationFailed):
        decoded(base64.urlsafe_b64encode(raw[:length]).decode())


@given(st.text())
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValidationFailed):
        decoded(text)


@given(things)
def test_a_cursor_belongs_to_one_tenant_one_list_and_its_filters(thing: Thing) -> None:
    cursor = encoded(thing, name="web", role=None)
    assert decoded(cursor, name="web", role=None) == thing
    with pytest.raises(ValidationFailed):
        decoded(cursor, TWO, name="web", role=None)
    with pytest.raises(ValidationFailed):
        decoded(cursor, ONE, "agents", name="web", role=None)
    for name, role in (("mail", None), (None, "web"), ("web", ""), (None, None), ("None", None)):
        with pytest.raises(ValidationFailed):
            decoded(cursor, name=name, role=role)
