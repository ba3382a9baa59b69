"""Pages: limit and cursor (or offset) in, items and the next cursor out."""

import base64
import binascii
import hashlib
import json
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from mini_agent.data import db
from mini_agent.errors import ValidationFailed
from mini_agent.identity.callers import Caller

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_POSITION = struct.Struct(">q16s")  # microseconds since the epoch, id
_CHECK_BYTES = 8


class Item(Protocol):
    """What a page can hold: ordered by time, then id."""

    id: UUID
    created_at: datetime


Held = TypeVar("Held")
ItemType = TypeVar("ItemType", bound=Item)


class PageQuery(BaseModel):
    """The query parameters of every list; a subclass adds filters."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(20, ge=1, le=100, description="Items in a page")
    cursor: str | None = Field(
        None, description="The `next_cursor` of the page before, with the same filters"
    )
    offset: int = Field(0, ge=0, le=10_000, description="Items to skip; not with `cursor`")
    include_total: bool = Field(False, description="Also count all items; slow for large histories")

    def filters(self) -> dict[str, Any]:
        """Return the subclass's own parameters."""
        return self.model_dump(exclude=set(PageQuery.model_fields))


class Page(BaseModel, Generic[Held]):
    """A page of a list."""

    items: list[Held]
    has_more: bool
    next_cursor: str | None
    total: int = Field(0, description="Only with `include_total=true`")


@dataclass(frozen=True, slots=True)
class _Total:
    total: int


def fetch(caller: Caller, room: str, query: PageQuery, item: type[ItemType]) -> "Page[ItemType]":
    """Return a page of a room's `list` query, counted by its `count` query if asked.

    Raises ValidationFailed for a cursor that is broken, of another tenant or of other filters.
    """
    filters = query.filters()
    seal = _seal(caller, room, filters)
    after_time, after_id = _position(query, seal)
    position = {"after_time": after_time, "after_id": after_id, "offset": query.offset}
    listed = db.Query(f"{room}/list", filters | position | {"limit": query.limit + 1}, item)
    if query.include_total:
        rows, [counted] = db.read(caller, listed, db.Query(f"{room}/count", filters, _Total))
        total = {"total": counted.total}
    else:
        rows, total = db.read(caller, listed), {}
    items, has_more = rows[: query.limit], len(rows) > query.limit
    return Page[item](  # type: ignore[valid-type]  # the route's very class, not checked again
        items=items,
        has_more=has_more,
        next_cursor=_cursor(items[-1], seal) if has_more else None,
        **total,
    )


def cursor(caller: Caller, room: str, query: PageQuery, last: Item) -> str:
    """Return the cursor of a page that begins behind an item, for who ends a page earlier."""
    return _cursor(last, _seal(caller, room, query.filters()))


def _seal(caller: Caller, room: str, filters: dict[str, Any]) -> Callable[[bytes], bytes]:
    """Return the check over a position that binds it to tenant, list and filters.

    It guards against mistakes, not against forgery, which would gain nothing: whatever position is
    asked for, row level security shows the tenant's own rows alone.
    """
    bound = json.dumps([str(caller.tenant_id), room, filters], default=str).encode()
    return lambda position: hashlib.blake2b(bound + position, digest_size=_CHECK_BYTES).digest()


def _cursor(item: Item, seal: Callable[[bytes], bytes]) -> str:
    microseconds = (item.created_at - _EPOCH) // timedelta(microseconds=1)
    position = _POSITION.pack(microseconds, item.id.bytes)
    return base64.urlsafe_b64encode(position + seal(position)).decode()


def _position(
    query: PageQuery, seal: Callable[[bytes], bytes]
) -> tuple[datetime | None, UUID | None]:
    if query.cursor is None:
        return None, None
    if query.offset:
        raise _refused("offset", "Use either cursor or offset")
    try:
        raw = base64.b64decode(query.cursor.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raw = b""
    position, check = raw[: _POSITION.size], raw[_POSITION.size :]
    if len(position) == _POSITION.size and check == seal(position):
        microseconds, id_bytes = _POSITION.unpack(position)
        with suppress(OverflowError):  # a forged time that no calendar has
            return _EPOCH + timedelta(microseconds=microseconds), UUID(bytes=id_bytes)
    raise _refused(
        "cursor", "Not a cursor of this list with these filters; start from the first page"
    )


def _refused(parameter: str, message: str) -> ValidationFailed:
    return ValidationFailed.of(f"query.{parameter}", message)
