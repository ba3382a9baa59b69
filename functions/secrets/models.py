"""The bodies, query parameters and rows of the secrets room; no response has a value."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import pydantic
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.json_schema import SkipJsonSchema

from mini_agent.http.pagination import PageQuery

SecretName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,100}$")]

# ASCII, so that a header can carry it, and line breaks for a PEM; KMS encrypts up to 4096 bytes.
Value = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        min_length=1,
        max_length=4000,
        pattern=r"^[\t\n\r -~]*[!-~][\t\n\r -~]*$",
    ),
]


class SecretValue(BaseModel):
    """The body that sets a secret; no response shows the value."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"value": "**********"}]}
    )

    value: pydantic.Secret[Value]


class SecretQuery(PageQuery):
    """The query parameters of the list of secrets."""


class Secret(BaseModel):
    """A secret's name and times, without its value."""

    id: SkipJsonSchema[UUID] = Field(exclude=True)  # orders pages; clients use the name
    name: str = Field(examples=["search_api_key"])
    created_at: datetime
    updated_at: datetime
