"""What comes into the tools room, and what goes out."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StrictBool,
    StringConstraints,
)

from functions.tools import schemas
from mini_agent.http.fields import Description, Name
from mini_agent.http.pagination import PageQuery
from mini_agent.settings import settings

MOST_HEADERS = 20
PLACEHOLDER = re.compile(r"\{[A-Za-z0-9_.-]{1,64}\}")
SECRET = re.compile(r"\{\{secret:[A-Za-z0-9_.-]{1,100}\}\}")
NOT_OURS = {
    *("connection", "content-length", "expect", "host", "keep-alive", "proxy-authenticate"),
    *("proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
}
"""Headers that belong to the connection, not to what is asked."""

PARAMETERS: dict[str, JsonValue] = {
    "type": "object",
    "properties": {"query": {"type": "string", "maxLength": 200}},
    "required": ["query"],
}
ENDPOINT: dict[str, JsonValue] = {
    "method": "GET",
    "url": "https://search.example.com/v1/search?q={query}",
    "headers": {"Authorization": "Bearer {{secret:search_api_key}}"},
    "timeout_seconds": 10,
}


def _url(url: str) -> str:
    filled = PLACEHOLDER.sub("x", url)
    parts = urlsplit(filled)
    plain = settings().plain_http
    if parts.scheme not in ({"https", "http"} if plain else {"https"}):
        raise ValueError("The URL must begin with https://")
    if parts.username is not None or parts.password is not None:
        raise ValueError("The URL must hold no credentials; name a secret in a header instead")
    if not parts.hostname or urlsplit(url).netloc != parts.netloc:
        raise ValueError("The URL must name its host, without a placeholder")
    if re.search(r"[{}\\#]", filled):
        raise ValueError("A placeholder is {name}; the URL must have no #, \\, { or } besides")
    _ = parts.port  # raises ValueError
    return url


def _headers(headers: dict[str, str]) -> dict[str, str]:
    names = [name.lower() for name in headers]
    if len(set(names)) < len(names):
        raise ValueError("A header must be there once")
    if refused := NOT_OURS.intersection(names):
        raise ValueError(f"These headers are not yours to set: {', '.join(sorted(refused))}")
    if any("{{" in SECRET.sub("", value) for value in headers.values()):
        raise ValueError("A secret is named as {{secret:NAME}}")
    return headers


HeaderName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", max_length=100)
]
HeaderValue = Annotated[
    str, StringConstraints(strip_whitespace=True, pattern=r"^[!-~][ -~]*$", max_length=1000)
]
Parameters = Annotated[
    dict[str, Any],
    AfterValidator(schemas.check),
    Field(
        description=(
            "A JSON Schema of type `object`: what the model may give. 16 KB at most; every `$ref`"
            " is `#/$defs/NAME`, and none leads to itself"
        ),
        examples=[PARAMETERS],
    ),
]


class Endpoint(BaseModel):
    """What a tool calls."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    url: str = Field(
        description=(
            "With `{argument}` placeholders; other arguments go as the query of GET and DELETE, and"
            " as a JSON body otherwise"
        )
    )
    headers: dict[str, str] = Field(
        default_factory=dict, description="A value may name a secret: `{{secret:NAME}}`"
    )
    timeout_seconds: int = 10


class EndpointIn(Endpoint):
    """What a tool is to call: over https, at a public address."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [ENDPOINT]})

    url: Annotated[
        str,
        StringConstraints(strip_whitespace=True, pattern=r"^[!-~]+$", max_length=2000),
        AfterValidator(_url),
    ] = Field(description=Endpoint.model_fields["url"].description)
    headers: Annotated[dict[HeaderName, HeaderValue], AfterValidator(_headers)] = Field(
        default_factory=dict,
        max_length=MOST_HEADERS,
        description=Endpoint.model_fields["headers"].description,
    )
    timeout_seconds: int = Field(10, ge=1, le=60)


Idempotent = Annotated[
    StrictBool,
    Field(description="Whether a call that a crash cut off may be made again"),
]
RequiresApproval = Annotated[
    StrictBool, Field(description="Whether a person must approve each call")
]


class ToolIn(BaseModel):
    """A tool to be made."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "name": "web_search",
                    "description": "Search the web for real-time information",
                    "parameters": PARAMETERS,
                    "endpoint": ENDPOINT,
                    "idempotent": True,
                }
            ]
        },
    )

    name: Name
    description: Description
    parameters: Parameters | None = None
    endpoint: EndpointIn | None = Field(
        None, description="What it calls; without, it is only described to the model"
    )
    idempotent: Idempotent = False
    requires_approval: RequiresApproval = False


class ToolChange(BaseModel):
    """What to change; fields left out stay as they are."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"description": "Search the web, news included"}]},
    )

    # Only absence means "as it is" (a factory shows no default); null is refused unless it says so.
    name: Name = Field(default_factory=str)
    description: Description = Field(default_factory=str)
    parameters: Parameters | None = Field(
        default_factory=lambda: None, description="null takes them away"
    )
    endpoint: EndpointIn | None = Field(
        default_factory=lambda: None, description="null takes it away"
    )
    idempotent: Idempotent = Field(default_factory=bool)
    requires_approval: RequiresApproval = Field(default_factory=bool)


class ToolQuery(PageQuery):
    """Which tools to list."""

    name: Name | None = None
    agent_name: Name | None = None


class Tool(BaseModel):
    """A tool."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "550e8400-e29b-41d4-a716-446655440000",
                    "name": "web_search",
                    "description": "Search the web for real-time information",
                    "parameters": PARAMETERS,
                    "endpoint": ENDPOINT,
                    "idempotent": True,
                    "requires_approval": False,
                    "created_at": "2024-01-15T10:30:00.123456Z",
                    "updated_at": "2024-01-15T10:30:00.123456Z",
                }
            ]
        }
    )

    id: UUID
    name: str
    description: str
    parameters: dict[str, Any] | None
    endpoint: Endpoint | None
    idempotent: bool
    requires_approval: bool
    created_at: datetime
    updated_at: datetime


class AgentName(BaseModel):
    """An agent, as far as a refusal to delete its tool names it."""

    id: UUID
    name: str
