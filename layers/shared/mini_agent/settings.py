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
    """Who runs `sql/bootstrap.sql`; only the migrate function uses it."""
    database_auth: Literal["none", "iam"] = "none"
    """`iam`: TLS, and a token of the function's role for a password, to the cache too."""

    redis_url: str = ""
    redis_user: str = ""
    redis_cache: str = ""
    """With `iam`: the name of the serverless cache, and its user for the functions."""

    key_peppers: dict[int, SecretStr] = {}
    """Version to secret; only the functions that check or make keys have it."""
    key_peppers_secret: str = ""
    """The same as a secret of Secrets Manager, by ARN; goes before `key_peppers`."""

    secrets_key: str = ""
    """Seals the tenants' secrets: `kms:` and a key's ARN, or, locally, `local:` and 32 bytes as
    URL-safe base64."""

    providers: SecretStr = SecretStr("{}")
    """The platform's own credentials, as JSON: provider to its settings; see `functions/runs`."""
    providers_secret: str = ""
    """The same as a secret of Secrets Manager, by ARN; goes before `providers`."""

    worker_function: str = ""
    """The durable function that background runs go to, with its alias."""

    plain_http: bool = False
    """Whether tools may be called over http and at private addresses: for local use alone."""

    follow_seconds: float = 20
    """How long a request for a run's events waits for something to tell."""

    cors_origin: str = "none"
    """The origin whose pages a browser lets read the answers; `none` for no page."""

    region: str = Field(default="", validation_alias="AWS_REGION")


@cache
def settings() -> Settings:
    """Return the settings, read from the environment at the first call."""
    return Settings()
