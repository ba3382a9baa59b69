"""What comes into the keys room, and what goes out: a key itself once, a digest never."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from mini_agent import keys
from mini_agent.fields import Name
from mini_agent.page import PageQuery

ALL_SCOPES = (*keys.SCOPES, keys.OPERATOR_SCOPE)
LONGEST_OVERLAP = 7 * 24 * 60 * 60

KEY: dict[str, JsonValue] = {
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


def _known(scope: str) -> str:
    if scope not in ALL_SCOPES:
        raise ValueError(f"A scope is one of {', '.join(ALL_SCOPES)}")
    return scope


Scope = Annotated[str, AfterValidator(_known), Field(json_schema_extra={"enum": [*ALL_SCOPES]})]
Days = Annotated[int, Field(ge=1, le=365, description="Days until the new key expires")]


class KeyIn(BaseModel):
    """A key to be made."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "name": "Nightly reports",
                    "scopes": ["history:read", "runs:write"],
                    "expires_in_days": 90,
                }
            ]
        },
    )

    name: Name
    scopes: list[Scope] = Field(
        min_length=1,
        max_length=len(ALL_SCOPES),
        description="What it may do: no more than the key that makes it",
    )
    expires_in_days: Days = 90


class RotationIn(BaseModel):
    """How a key is to be replaced."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"overlap_seconds": 3600, "expires_in_days": 90}, {}]},
    )

    overlap_seconds: int = Field(
        24 * 60 * 60,
        ge=0,
        le=LONGEST_OVERLAP,
        description="How long the old key works beside the new one, if it does not expire sooner",
    )
    expires_in_days: Days = 90


class KeyQuery(PageQuery):
    """Which keys to list."""

    name: Name | None = None


class Key(BaseModel):
    """A key, as far as it is told after it was made."""

    model_config = ConfigDict(json_schema_extra={"examples": [KEY]})

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

    model_config = ConfigDict(json_schema_extra={"examples": [KEY | {"key": "map_live_…"}]})

    key: str | None = Field(None, description="Told this once; null where an answer is told again")
