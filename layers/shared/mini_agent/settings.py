"""The one place that reads the environment."""

from functools import cache
from typing import Literal

from pydantic import SecretStr
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

    redis_url: str = ""

    key_peppers: dict[int, SecretStr] = {}
    """Version to secret; only the functions that check or make keys have it."""


@cache
def settings() -> Settings:
    """Return the settings, read from the environment at the first call."""
    return Settings()
