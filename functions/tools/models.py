"""The bodies, query parameters and rows of the tools room; a tool is checked when it is saved."""

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

MAX_HEADERS = 20
PLACEHOLDER = re.compile(r"\{[A-Za-z0-9_.-]{1,64}\}")
SECRET_REFERENCE = re.compile(r"\{\{secret:[A-Za-z0-9_.-]{1,100}\}\}")
CONNECTION_HEADERS = {
    *("connection", "content-length", "expect", "host", "keep-alive", "proxy-authenticate"),
    *("proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
}
"""Headers that describe the connection, which the HTTP client sets."""

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


def _check_url(url: str) -> str:
    filled = PLACEHOLDER.sub("x", url)
    parts = urlsplit(filled)
    plain = settings().plain_http
    if parts.scheme not in ({"https", "http"} if plain else {"https"}):
        raise ValueError("The URL must start with https://")
    if parts.username is not None or parts.password is not None:
        raise ValueError("The URL must contain no credentials; refer to a secret in a header")
    if not parts.hostname or urlsplit(url).netloc != parts.netloc:
        raise ValueError("The URL must have a host, and no placeholder in it")
    if re.search(r"[{}\\#]", filled):
        raise ValueError("Write placeholders as {name}; the URL must have no other #, \\, { or }")
    _ = parts.port  # raises ValueError
    return url


def _check_headers(headers: dict[str, str]) -> dict[str, str]:
    names = [name.lower() for name in headers]
    if len(set(names)) < len(names):
        raise ValueError("Each header may appear only once")
    if refused := CONNECTION_HEADERS.intersection(names):
        raise ValueError(f"These headers are set by the HTTP client: {', '.join(sorted(refused))}")
    if any("{{" in SECRET_REFERENCE.sub("", value) for value in headers.values()):
        raise ValueError("Refer to a secret as {{secret:NAME}}")
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
            "A JSON Schema of type `object` for the arguments; at most 16 KB. Each `$ref` is"
            " `#/$defs/NAME`, and none refers back to itself"
        ),
        examples=[PARAMETERS],
    ),
]


class ToolEndpoint(BaseModel):
    """The HTTP request that a tool makes."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    url: str = Field(
        description=(
            "With `{argument}` placeholders; other arguments go into the query of GET and DELETE,"
            " and into a JSON body otherwise"
        )
    )
    headers: dict[str, str] = Field(
        default_factory=dict, description="A value may refer to a secret: `{{secret:NAME}}`"
    )
    timeout_seconds: int = 10


class ToolEndpointInput(ToolEndpoint):
    """The HTTP request that a tool makes, over https to a public address."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [ENDPOINT]})

    url: Annotated[
        str,
        StringConstraints(strip_whitespace=True, pattern=r"^[!-~]+$", max_length=2000),
        AfterValidator(_check_url),
    ] = Field(description=ToolEndpoint.model_fields["url"].description)
    headers: Annotated[dict[HeaderName, HeaderValue], AfterValidator(_check_headers)] = Field(
        default_factory=dict,
        max_length=MAX_HEADERS,
        description=ToolEndpoint.model_fields["headers"].description,
    )
    timeout_seconds: int = Field(10, ge=1, le=60)


Idempotent = Annotated[
    StrictBool,
    Field(description="Whether a call that a crash interrupted may be repeated"),
]
RequiresApproval = Annotated[
    StrictBool, Field(description="Whether a person must approve each call")
]


class ToolCreate(BaseModel):
    """The body that creates a tool."""

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
    endpoint: ToolEndpointInput | None = Field(
        None, description="Without an endpoint, the tool is only described to the model"
    )
    idempotent: Idempotent = False
    requires_approval: RequiresApproval = False


class ToolUpdate(BaseModel):
    """The body that changes a tool; absent fields keep their values."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"description": "Search the web, news included"}]},
    )

    # A factory, since the document would show a default. null is refused unless the type allows it.
    name: Name = Field(default_factory=str)
    description: Description = Field(default_factory=str)
    parameters: Parameters | None = Field(
        default_factory=lambda: None, description="null removes them"
    )
    endpoint: ToolEndpointInput | None = Field(
        default_factory=lambda: None, description="null removes it"
    )
    idempotent: Idempotent = Field(default_factory=bool)
    requires_approval: RequiresApproval = Field(default_factory=bool)


class ToolQuery(PageQuery):
    """The query parameters of the list of tools."""

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
    endpoint: ToolEndpoint | None
    idempotent: bool
    requires_approval: bool
    created_at: datetime
    updated_at: datetime


class DependentAgent(BaseModel):
    """An agent that uses a tool, in the refusal to delete that tool."""

    id: UUID
    name: str
