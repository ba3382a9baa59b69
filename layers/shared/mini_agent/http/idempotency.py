"""`Idempotency-Key`: a POST that is sent again has its effect once, and its first answer again.

The answer is stored in the transaction of the effect: a crash leaves both or neither. A request
that comes while its twin is at work waits for the twin's commit. Only successes are stored.

An API key in an answer is shown once: where it was, what is stored, and told again, has null.

A route joins by itself (see `api`). One that keeps its own transactions asks for the `key` of its
request and claims it where it writes its effect down:

    with db.Transaction() as transaction:
        if key and (stored := idempotency.claim(caller, key, execution_id)):
            ...  # the effect is there: answer from `stored.execution_id`, with REPLAYED
        transaction.commit(caller, db.Query(...))
"""

import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb
from starlette.requests import Request
from starlette.responses import Response

from mini_agent.data import db
from mini_agent.errors import (
    DeadlineExceeded,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    ValidationFailed,
)
from mini_agent.identity import api_keys
from mini_agent.identity.callers import Caller

HEADER = "Idempotency-Key"
MAX_LENGTH = 255
REPLAYED = {"Idempotency-Replayed": "true"}
"""The header of an answer that was given before."""

_FIT = re.compile(rf"[\x21-\x7e]{{1,{MAX_LENGTH}}}")

# A quote after a colon begins a value: within a text it has a backslash.
_MAYBE_KEY = re.compile(rf'(?<=:)"({api_keys.PREFIX}\w+)"')


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A request by its key, which is the tenant's for one route, and what the request asks."""

    route: str
    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """What is known of a request that came before: its answer, or the run that it began."""

    fingerprint: bytes
    execution_id: UUID | None
    status: int | None
    headers: dict[str, str] | None
    body: str | None


@dataclass(frozen=True, slots=True)
class _Claimed:
    claimed: bool


@dataclass(frozen=True, slots=True)
class _Kept:
    stored: bool


async def key(request: Request) -> IdempotencyKey | None:
    """Return the key of a request, None without the header; raises ValidationFailed."""
    sent = request.headers.get(HEADER)
    if sent is None:
        return None
    if not _FIT.fullmatch(sent):
        raise ValidationFailed.of(
            f"header.{HEADER}", f"1 to {MAX_LENGTH} visible ASCII characters, no blanks"
        )
    # The template: the same key for another item is a mistake, as another body is.
    route = f"{request.method} {request.scope['route'].path}"
    asked = request.scope["path"].encode() + b"\0" + await request.body()
    return IdempotencyKey(route, sent, hashlib.sha256(asked).digest())


def claim(
    caller: Caller, key: IdempotencyKey, execution_id: UUID | None = None
) -> StoredResponse | None:
    """Return None if the key is now the open transaction's, else what it has stored.

    Raises IdempotencyKeyReused if that was another request, IdempotencyKeyInUse if a twin is at
    work for longer than a statement may wait.
    """
    asked = asdict(key)
    try:
        claimed, [stored] = db.read(
            caller,
            db.Query("idempotency/claim", asked | {"execution_id": execution_id}, _Claimed),
            db.Query("idempotency/get", asked, StoredResponse),
        )
    except DeadlineExceeded:
        raise IdempotencyKeyInUse from None
    return None if claimed else _same(stored, key)


def find(caller: Caller, key: IdempotencyKey) -> StoredResponse | None:
    """Return what a key has stored, None if it is free; raises IdempotencyKeyReused."""
    found = db.read(caller, db.Query("idempotency/get", asdict(key), StoredResponse))
    return _same(found[0], key) if found else None


def _same(stored: StoredResponse, key: IdempotencyKey) -> StoredResponse:
    if stored.fingerprint != key.fingerprint:
        raise IdempotencyKeyReused
    return stored


async def once(
    caller: Caller, key: IdempotencyKey, work: Callable[[], Awaitable[Response]]
) -> Response:
    """Do the work in one transaction with its key, or return the answer that it had before.

    Raises what `claim` and the work raise; then, and after an answer that is an error, nothing is
    kept.
    """
    with db.Transaction() as transaction:
        if stored := claim(caller, key):
            return _again(stored)
        answer = await work()
        if answer.status_code < 400:  # noqa: PLR2004 - no error
            transaction.commit(
                caller, db.Query("idempotency/store", asdict(key) | _told(answer), _Kept)
            )
    return answer


def _told(answer: Response) -> dict[str, Any]:
    """Return what is stored of an answer; other headers than these are made anew each time."""
    headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
    return {
        "status": answer.status_code,
        "headers": Jsonb(headers),
        "body": _MAYBE_KEY.sub(_hidden, bytes(answer.body).decode()),
    }


def _hidden(value: re.Match[str]) -> str:
    return "null" if api_keys.is_well_formed(value[1]) else value[0]


def _again(stored: StoredResponse) -> Response:
    if stored.status is None:
        raise IdempotencyKeyInUse
    return Response(stored.body, stored.status, {**(stored.headers or {}), **REPLAYED})
