"""The bodies and query parameters of the keys room; `mini_agent` has what it answers."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from mini_agent.http.fields import Name
from mini_agent.http.pagination import PageQuery
from mini_agent.identity import api_keys
from mini_agent.identity.api_keys import LifetimeDays

ALL_SCOPES = (*api_keys.SCOPES, api_keys.OPERATOR_SCOPE)
MAX_OVERLAP_SECONDS = 7 * 24 * 60 * 60

Scope = Annotated[
    str,
    api_keys.scope_validator(ALL_SCOPES),
    Field(json_schema_extra={"x-extensible-enum": [*ALL_SCOPES]}),
]


class ApiKeyCreate(BaseModel):
    """The body that creates a key."""

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
        description="What it may do: no more than the key that creates it",
    )
    expires_in_days: LifetimeDays = 90


class ApiKeyRotate(BaseModel):
    """The body that rotates a key."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"overlap_seconds": 3600, "expires_in_days": 90}, {}]},
    )

    overlap_seconds: int = Field(
        24 * 60 * 60,
        strict=True,
        ge=0,
        le=MAX_OVERLAP_SECONDS,
        description="How long the old key works beside the new one, unless it expires sooner",
    )
    expires_in_days: LifetimeDays = 90


class ApiKeyQuery(PageQuery):
    """The query parameters of the list of keys."""

    name: Name | None = None
