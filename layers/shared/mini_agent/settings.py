"""The one place that reads the environment."""

from functools import cache
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """The environment of a function, as `template.yaml` sets it (names with the prefix `MAP_`)."""

    model_config = SettingsConfigDict(env_prefix="MAP_", frozen=True)

    profile: Literal["local", "aws"] = "aws"

    database_host: str = ""
    database_port: int = 5432
    database_name: str = "map"
    database_user: str = "map_api"
    database_admin_user: str = "postgres"
    """The user that runs `sql/bootstrap.sql`; only the migrate function uses it."""
    database_auth: Literal["none", "iam"] = "none"
    """`iam`: TLS and a token of the function's role as password, for the cache too."""

    redis_url: str = ""
    redis_user: str = ""
    redis_cache: str = ""
    """The name of the serverless cache; with `iam` only, as `redis_user`."""

    key_peppers: dict[int, SecretStr] = {}
    """Version to pepper; only the functions that check or issue keys have them."""
    key_peppers_secret: str = ""
    """The ARN of a secret with the same; takes precedence over `key_peppers`."""

    secrets_key: str = ""
    """Encrypts the tenants' secrets: `kms:` and a key's ARN, or, locally, `local:` and 32 bytes in
    URL-safe base64."""

    providers: SecretStr = SecretStr("{}")
    """The platform's own credentials of model providers, as JSON: see `functions/runs/llm`."""
    providers_secret: str = ""
    """The ARN of a secret with the same; takes precedence over `providers`."""

    worker_function: str = ""
    """The durable function that background runs are handed to, with its alias."""

    plain_http: bool = False
    """Whether tools may be called over http and at private addresses: local use only."""

    follow_seconds: float = 20
    """How long a request for a run's events waits for a new one."""

    cors_origin: str = "none"
    """The origin whose pages may read responses in a browser (CORS), or `none`."""

    region: str = Field(default="", validation_alias="AWS_REGION")


@cache
def settings() -> Settings:
    """Return the settings, read from the environment at the first call."""
    return Settings()
