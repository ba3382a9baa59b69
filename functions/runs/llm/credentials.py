"""Which model answers a run, and with whose credentials."""

import json
from functools import cache
from typing import Any

from functions.runs.llm import catalogue
from functions.runs.llm.messages import Model
from functions.runs.llm.mock import MockModel
from functions.runs.models import AgentToRun, EncryptedSecret
from mini_agent import aws
from mini_agent.data import db
from mini_agent.identity.callers import Caller, RunCaller
from mini_agent.settings import settings

OWN_KEYS = {"openai": "openai_api_key", "anthropic": "anthropic_api_key"}
"""The names of the secrets that a tenant brings its own key under."""


def model(caller: Caller | RunCaller, agent: AgentToRun, name: str) -> Model:
    """Return what an agent thinks with, a model of the catalogue.

    With the tenant's own key, else the platform's, else it is the mock.
    """
    entry = catalogue.load()[name]
    found = _own(caller, entry.provider) or platform().get(entry.provider)
    if found is None:
        names = [tool.name for tool in agent.tools]
        return MockModel(agent.id, agent.name, agent.role, names, name)
    from functions.runs.llm import providers  # noqa: PLC0415 - slow to load, and of no use to the mock

    return providers.model(entry, found)


def secrets(caller: Caller | RunCaller, names: list[str]) -> dict[str, str]:
    """Return those of these secrets that the tenant has, unsealed."""
    if not names or not settings().secrets_key:
        return {}
    sealed = db.read(caller, db.Query("runs/secrets", {"names": names}, EncryptedSecret))
    if not sealed:
        return {}
    from mini_agent.data.encryption import decrypt  # noqa: PLC0415 - of use where there are secrets alone

    return {row.name: decrypt(caller.tenant_id, row.name, row.sealed) for row in sealed}


def _own(caller: Caller | RunCaller, provider: str) -> dict[str, Any] | None:
    name = OWN_KEYS.get(provider)
    key = secrets(caller, [name]).get(name) if name else None
    return {"api_key": key} if key else None


@cache
def platform() -> dict[str, dict[str, Any]]:
    """Return the platform's own credentials: provider to its settings."""
    s = settings()
    text = s.providers.get_secret_value()
    if s.providers_secret:
        answer = aws.call("secretsmanager", "get_secret_value", SecretId=s.providers_secret)
        text = answer["SecretString"]
    found: dict[str, dict[str, Any]] = json.loads(text)
    return found
