"""What the system room answers."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from mini_agent import API_VERSION


class Health(BaseModel):
    """The function runs; nothing else was asked."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    status: Literal["healthy"] = "healthy"
    service: Literal["Mini Agent Platform"] = "Mini Agent Platform"
    version: str = API_VERSION


class Dependency(BaseModel):
    """A server that the platform needs."""

    state: Literal["up", "down"]
    latency_ms: float


class Readiness(BaseModel):
    """Every dependency answers."""

    status: Literal["ready"]
    dependencies: dict[str, Dependency]


class Ping(BaseModel):
    """The database's answer."""

    alive: bool
