"""What comes into the secrets room, and what goes out: never a value."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    Secret,
    StringConstraints,
)
from pydantic.json_schema import SkipJsonSchema

from mini_agent.fields import VISIBLE
from mini_agent.page import PageQuery

LONGEST_BYTES = 4096
"""What KMS seals at once."""

SecretName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,100}$")]


def _short_enough(text: str) -> str:
    if len(text.encode()) > LONGEST_BYTES:
        raise ValueError(f"at most {LONGEST_BYTES} bytes of UTF-8")
    return text


Value = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=4000, pattern=VISIBLE),
    AfterValidator(_short_enough),
]


class SecretIn(BaseModel):
    """The value of a secret; nothing tells it again."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"value": "**********"}]}
    )

    value: Secret[Value]


class SecretQuery(PageQuery):
    """Which secrets to list."""


class StoredSecret(BaseModel):
    """A secret, as far as it is told."""

    id: SkipJsonSchema[UUID] = Field(exclude=True)  # a page's order; clients go by the name
    name: str = Field(examples=["search_api_key"])
    created_at: datetime
    updated_at: datetime
