"""New API keys: the one place that makes them, for whichever room writes them down."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from mini_agent import keys
from mini_agent.peppers import peppers

EXAMPLE: dict[str, JsonValue] = {
    "id": "950e8400-e29b-41d4-a716-446655440000",
    "name": "Nightly reports",
    "prefix": keys.PREFIX,
    "last_four": "7Xk2",
    "scopes": ["history:read", "runs:write"],
    "created_at": "2024-01-15T10:30:00.123456Z",
    "expires_at": "2024-04-14T10:30:00.123456Z",
    "revoked_at": None,
    "last_used_at": None,
}

Days = Annotated[
    int, Field(strict=True, ge=1, le=365, description="Days until the new key expires")
]


def among(scopes: tuple[str, ...]) -> AfterValidator:
    """Return what lets a field take one of these scopes alone."""

    def known(scope: str) -> str:
        if scope not in scopes:
            raise ValueError(f"A scope is one of {', '.join(scopes)}")
        return scope

    return AfterValidator(known)


class Key(BaseModel):
    """A key, as far as it is told after it was made."""

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


class NewKey(Key):
    """A new key with what to send as `X-API-KEY`."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE | {"key": "map_live_…"}]})

    key: str | None = Field(None, description="Told this once; null where an answer is told again")


def mint() -> tuple[str, dict[str, Any]]:
    """Return a new key, to be shown once, and what the database keeps of it instead.

    The fields are id, digest (by the newest pepper), pepper_version, prefix and last_four.
    Raises ServiceUnavailable while the peppers cannot be read.
    """
    key = keys.generate()
    version, pepper = max(peppers().items())
    fields: dict[str, UUID | bytes | int | str] = {
        "id": uuid4(),
        "digest": keys.digest(key, pepper),
        "pepper_version": version,
        "prefix": keys.PREFIX,
        "last_four": key[-4:],
    }
    return key, fields
