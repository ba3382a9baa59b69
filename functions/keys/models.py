"""What comes into the keys room, and what goes out: a key itself once, a digest never."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from mini_agent.http.fields import Name
from mini_agent.http.pagination import PageQuery
from mini_agent.identity import api_keys
from mini_agent.identity.api_keys import Days

ALL_SCOPES = (*api_keys.SCOPES, api_keys.OPERATOR_SCOPE)
LONGEST_OVERLAP = 7 * 24 * 60 * 60

Scope = Annotated[
    str, api_keys.among(ALL_SCOPES), Field(json_schema_extra={"x-extensible-enum": [*ALL_SCOPES]})
]


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
        strict=True,
        ge=0,
        le=LONGEST_OVERLAP,
        description="How long the old key works beside the new one, if it does not expire sooner",
    )
    expires_in_days: Days = 90


class KeyQuery(PageQuery):
    """Which keys to list."""

    name: Name | None = None
