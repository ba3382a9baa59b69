"""API keys: their format, what is stored of them, and what a client is shown.

A key is `map_live_`, 32 random base62 characters (190 bits) and a CRC-32 of all that in 6 more, as
GitHub described in "Behind GitHub's new authentication token formats" (2021): a mistyped or made-up
key is refused without asking the database. Only a digest is stored.
"""

import hmac
import secrets
import string
import zlib
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from mini_agent.identity.peppers import peppers

PREFIX = "map_live_"
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM_CHARACTERS = 32
_CHECKSUM_CHARACTERS = 6

DEMO_KEYS = {"tenant-a-key": "digest_a", "tenant-b-key": "digest_b"}
"""The local profile's keys, each with its digest's parameter in `sql/seed/local.sql`."""

SCOPES = (
    "agents:read",
    "agents:write",
    "audit:read",
    "history:read",
    "keys:write",
    "runs:read",
    "runs:write",
    "secrets:read",
    "secrets:write",
    "tools:read",
    "tools:write",
)
"""The scopes that a tenant's key can have."""

OPERATOR_SCOPE = "platform:admin"
"""The scope that only keys of the platform's own tenant can have."""

PLATFORM = UUID(int=0)
"""The platform's own tenant, which operators' keys belong to."""


def issue() -> tuple[str, dict[str, Any]]:
    """Return a new key, to be shown once, and the columns that the database stores of it.

    The columns are id, digest (with the newest pepper), pepper_version, prefix and last_four.
    Raises ServiceUnavailable while the peppers cannot be read.
    """
    key = generate()
    version, pepper = max(peppers().items())
    return key, {
        "id": uuid4(),
        "digest": digest(key, pepper),
        "pepper_version": version,
        "prefix": PREFIX,
        "last_four": key[-4:],
    }


def generate() -> str:
    """Return a random key."""
    body = PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_CHARACTERS))
    return body + _checksum(body)


def is_well_formed(key: str) -> bool:
    """Tell whether a text has a key's prefix, length, alphabet and checksum."""
    body, checksum = key[:-_CHECKSUM_CHARACTERS], key[-_CHECKSUM_CHARACTERS:]
    return (
        len(body) == len(PREFIX) + _RANDOM_CHARACTERS
        and body.startswith(PREFIX)
        and key.isascii()
        and hmac.compare_digest(checksum.encode(), _checksum(body).encode())
    )


def digest(key: str, pepper: str) -> bytes:
    """Return the HMAC-SHA-256 that the database stores in a key's place."""
    return hmac.digest(pepper.encode(), key.encode(), "sha256")


def _checksum(body: str) -> str:
    number, characters = zlib.crc32(body.encode()), ""
    for _ in range(_CHECKSUM_CHARACTERS):
        number, index = divmod(number, len(_ALPHABET))
        characters = _ALPHABET[index] + characters
    return characters


EXAMPLE: dict[str, JsonValue] = {
    "id": "950e8400-e29b-41d4-a716-446655440000",
    "name": "Nightly reports",
    "prefix": PREFIX,
    "last_four": "7Xk2",
    "scopes": ["history:read", "runs:write"],
    "created_at": "2024-01-15T10:30:00.123456Z",
    "expires_at": "2024-04-14T10:30:00.123456Z",
    "revoked_at": None,
    "last_used_at": None,
}

LifetimeDays = Annotated[
    int, Field(strict=True, ge=1, le=365, description="Days until the new key expires")
]


def scope_validator(scopes: tuple[str, ...]) -> AfterValidator:
    """Return the validator of a field that takes one of these scopes."""

    def check(scope: str) -> str:
        if scope not in scopes:
            raise ValueError(f"A scope is one of {', '.join(scopes)}")
        return scope

    return AfterValidator(check)


class ApiKey(BaseModel):
    """An API key, without its secret part."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    id: UUID
    name: str
    prefix: str
    last_four: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class NewApiKey(ApiKey):
    """A new API key, with what to send as `X-API-KEY`."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE | {"key": "map_live_…"}]})

    key: str | None = Field(None, description="Shown once: null when an answer is replayed")
