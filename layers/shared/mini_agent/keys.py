"""API keys: how they look, and what is stored of them.

A key is `map_live_`, 32 random base62 characters (190 bits) and 6 of a CRC-32 over all before it,
after the format that GitHub described in "Behind GitHub's new authentication token formats" (2021):
a typing error or a made-up key is refused without asking the database. Only a digest is stored.
"""

import hmac
import secrets
import string
import zlib
from uuid import UUID

PREFIX = "map_live_"
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM_CHARACTERS = 32
_CHECKSUM_CHARACTERS = 6

DEMO_KEYS = {"tenant-a-key": "digest_a", "tenant-b-key": "digest_b"}
"""The keys of the local profile, and the parameters of `sql/seed/local.sql` that take them."""

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
"""What a tenant's key can be allowed."""

OPERATOR_SCOPE = "platform:admin"
"""What only keys of the platform's own tenant have."""

PLATFORM = UUID(int=0)
"""The tenant of the operators' keys."""


def generate() -> str:
    """Return a new key."""
    body = PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_CHARACTERS))
    return body + _checksum(body)


def is_well_formed(key: str) -> bool:
    """Tell whether a text has the prefix, length, alphabet and checksum of a key."""
    body, checksum = key[:-_CHECKSUM_CHARACTERS], key[-_CHECKSUM_CHARACTERS:]
    return (
        len(body) == len(PREFIX) + _RANDOM_CHARACTERS
        and body.startswith(PREFIX)
        and key.isascii()
        and hmac.compare_digest(checksum.encode(), _checksum(body).encode())
    )


def digest(key: str, pepper: str) -> bytes:
    """Return the 32 bytes (HMAC-SHA-256) that the database knows a key by."""
    return hmac.digest(pepper.encode(), key.encode(), "sha256")


def _checksum(body: str) -> str:
    number, characters = zlib.crc32(body.encode()), ""
    for _ in range(_CHECKSUM_CHARACTERS):
        number, index = divmod(number, len(_ALPHABET))
        characters = _ALPHABET[index] + characters
    return characters
