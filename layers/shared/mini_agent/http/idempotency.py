"""`Idempotency-Key`: a POST that is sent again takes effect once and gets its first response again.

The response is stored in the transaction of the effect: a crash leaves both or neither. Of two
requests at once, the second waits for the first one's commit. Only successes are stored. An API key
in a response is shown once: what is stored, and replayed, has null in its place.

A route that is one transaction needs to do nothing (see `api`). One with its own transactions gets
the `key` of its request and claims it in the transaction of its effect:

    with db.Transaction() as transaction:
        if key and (stored := idempotency.claim(caller, key, execution_id)):
            ...  # it has taken effect before: respond from `stored`, with the header REPLAYED
        transaction.commit(caller, db.Query(...))
"""

import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from http import HTTPStatus
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
"""The header of a response that was given before."""

_VALID = re.compile(rf"[\x21-\x7e]{{1,{MAX_LENGTH}}}")

# A quote after a colon begins a value: within a text it has a backslash.
_POSSIBLE_API_KEY = re.compile(rf'(?<=:)"({api_keys.PREFIX}\w+)"')


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A request's key, which is unique to the tenant and route, and a hash of the request."""

    route: str
    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """An earlier request with a key: its response, or the run that it started."""

    fingerprint: bytes
    execution_id: UUID | None
    status: int | None
    headers: dict[str, str] | None
    body: str | None


@dataclass(frozen=True, slots=True)
class _ClaimResult:
    claimed: bool


@dataclass(frozen=True, slots=True)
class _StoreResult:
    stored: bool


async def key(request: Request) -> IdempotencyKey | None:
    """Return a request's key, or None without the header; raises ValidationFailed."""
    value = request.headers.get(HEADER)
    if value is None:
        return None
    if not _VALID.fullmatch(value):
        raise ValidationFailed.of(
            f"header.{HEADER}", f"1 to {MAX_LENGTH} visible ASCII characters, no blanks"
        )
    # The route's template, the hash of the path: the same key for another item is a mistake.
    route = f"{request.method} {request.scope['route'].path}"
    content = request.scope["path"].encode() + b"\0" + await request.body()
    return IdempotencyKey(route, value, hashlib.sha256(content).digest())


def claim(
    caller: Caller, key: IdempotencyKey, execution_id: UUID | None = None
) -> StoredResponse | None:
    """Claim a key for the open transaction and return None, or return what the key has stored.

    Raises IdempotencyKeyReused if that was another request, and IdempotencyKeyInUse if the first
    one is in progress for longer than a statement may wait.
    """
    parameters = asdict(key) | {"execution_id": execution_id}
    try:
        claimed, [stored] = db.read(
            caller,
            db.Query("idempotency/claim_key", parameters, _ClaimResult),
            db.Query("idempotency/get_key", parameters, StoredResponse),
        )
    except DeadlineExceeded:
        raise IdempotencyKeyInUse from None
    return None if claimed else _checked(stored, key)


def find(caller: Caller, key: IdempotencyKey) -> StoredResponse | None:
    """Return what a key has stored, or None if it is free; raises IdempotencyKeyReused."""
    found = db.read(caller, db.Query("idempotency/get_key", asdict(key), StoredResponse))
    return _checked(found[0], key) if found else None


def _checked(stored: StoredResponse, key: IdempotencyKey) -> StoredResponse:
    if stored.fingerprint != key.fingerprint:
        raise IdempotencyKeyReused
    return stored


async def once(
    caller: Caller, key: IdempotencyKey, work: Callable[[], Awaitable[Response]]
) -> Response:
    """Do the work in one transaction with its key, or return the key's stored response.

    Raises what `claim` and the work raise. After that, or an error response, nothing is stored.
    """
    with db.Transaction() as transaction:
        if stored := claim(caller, key):
            return _replay(stored)
        response = await work()
        if response.status_code < HTTPStatus.BAD_REQUEST:
            parameters = asdict(key) | _to_row(response)
            transaction.commit(
                caller, db.Query("idempotency/store_response", parameters, _StoreResult)
            )
    return response


def _to_row(response: Response) -> dict[str, Any]:
    """Return the columns of a response; all headers but the route's own are made anew each time."""
    headers = {name: value for name, value in response.headers.items() if name != "content-length"}
    return {
        "status": response.status_code,
        "headers": Jsonb(headers),
        "body": _POSSIBLE_API_KEY.sub(_redact, bytes(response.body).decode()),
    }


def _redact(value: re.Match[str]) -> str:
    return "null" if api_keys.is_well_formed(value[1]) else value[0]


def _replay(stored: StoredResponse) -> Response:
    if stored.status is None:
        raise IdempotencyKeyInUse
    return Response(stored.body, stored.status, {**(stored.headers or {}), **REPLAYED})
