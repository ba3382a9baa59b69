"""What comes into the secrets room, and what goes out: never a value."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, Secret, StringConstraints
from pydantic.json_schema import SkipJsonSchema

from mini_agent.http.pagination import PageQuery

SecretName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,100}$")]

# What a header can carry, and no more bytes than KMS seals at once (4096); lines for a PEM.
Value = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        min_length=1,
        max_length=4000,
        pattern=r"^[\t\n\r -~]*[!-~][\t\n\r -~]*$",
    ),
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
