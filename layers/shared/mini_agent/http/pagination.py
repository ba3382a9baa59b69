"""Pages of a list: limit and cursor (or offset) in, items and the next cursor out.

A page costs the same at any depth: it begins behind the cursor's position, by time and id.
"""

import base64
import binascii
import hashlib
import json
import struct
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
_CHECKSUM_BYTES = 8


class PageItem(Protocol):
    """An item of a list, which is ordered by time, then id."""

    id: UUID
    created_at: datetime


ItemT = TypeVar("ItemT")
PageItemT = TypeVar("PageItemT", bound=PageItem)


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


class Page(BaseModel, Generic[ItemT]):
    """A page of a list."""

    items: list[ItemT]
    has_more: bool
    next_cursor: str | None
    # A factory shows no default: without `include_total` the field is absent, not zero.
    total: int = Field(default_factory=int, description="Only with `include_total=true`")


@dataclass(frozen=True, slots=True)
class _ItemCount:
    total: int


class Cursors:
    """The cursors of one list: each is a position and a checksum that binds it to that list.

    The checksum guards against mistakes, not forgery, which would gain nothing: at any position,
    row level security shows the tenant's own rows only.
    """

    def __init__(self, caller: Caller, room: str, filters: dict[str, Any]) -> None:
        self._list = json.dumps([str(caller.tenant_id), room, filters], default=str).encode()

    def encode(self, item: PageItem) -> str:
        """Return the cursor of the page that begins behind an item."""
        microseconds = (item.created_at - _EPOCH) // timedelta(microseconds=1)
        position = _POSITION.pack(microseconds, item.id.bytes)
        return base64.urlsafe_b64encode(position + self._checksum(position)).decode()

    def decode(self, cursor: str) -> tuple[datetime, UUID]:
        """Return the time and id of the item that a page begins behind; raises ValidationFailed."""
        try:
            raw = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
        except (binascii.Error, UnicodeEncodeError):
            raw = b""
        position, checksum = raw[: _POSITION.size], raw[_POSITION.size :]
        if len(position) == _POSITION.size and checksum == self._checksum(position):
            microseconds, id_bytes = _POSITION.unpack(position)
            with suppress(OverflowError):  # a forged time that no calendar has
                return _EPOCH + timedelta(microseconds=microseconds), UUID(bytes=id_bytes)
        raise ValidationFailed.of(
            "query.cursor",
            "Not a cursor of this list with these filters; start from the first page",
        )

    def _checksum(self, position: bytes) -> bytes:
        return hashlib.blake2b(self._list + position, digest_size=_CHECKSUM_BYTES).digest()


def fetch(caller: Caller, room: str, query: PageQuery, item: type[PageItemT]) -> "Page[PageItemT]":
    """Return a page of a room's `list` query, counted by its `count` query if asked for.

    Raises ValidationFailed for a cursor that is broken, another tenant's or of other filters.
    """
    filters = query.filters()
    cursors = Cursors(caller, room, filters)
    if query.cursor is not None and query.offset:
        raise ValidationFailed.of("query.offset", "Use either cursor or offset")
    after = (None, None) if query.cursor is None else cursors.decode(query.cursor)
    position = {"after_time": after[0], "after_id": after[1], "offset": query.offset}
    listed = db.Query(f"{room}/list", filters | position | {"limit": query.limit + 1}, item)
    if query.include_total:
        rows, [count] = db.read(caller, listed, db.Query(f"{room}/count", filters, _ItemCount))
        total = {"total": count.total}
    else:
        rows, total = db.read(caller, listed), {}
    items, has_more = rows[: query.limit], len(rows) > query.limit
    return Page[item](  # type: ignore[valid-type]  # the route's very class, not checked again
        items=items,
        has_more=has_more,
        next_cursor=cursors.encode(items[-1]) if has_more else None,
        **total,
    )


def cursor(caller: Caller, room: str, query: PageQuery, last: PageItem) -> str:
    """Return the cursor behind an item, for a page that ends before its limit."""
    return Cursors(caller, room, query.filters()).encode(last)
