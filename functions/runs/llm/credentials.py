"""Which model answers a run, and with whose credentials."""

import json
from functools import cache
from typing import Any

from functions.runs import tenant_secrets
from functions.runs.definitions import AgentDefinition
from functions.runs.llm import catalogue
from functions.runs.llm.messages import Model
from functions.runs.llm.mock import MockModel
from mini_agent import aws
from mini_agent.identity.callers import Caller, RunCaller
from mini_agent.settings import settings

TENANT_KEYS = {"openai": "openai_api_key", "anthropic": "anthropic_api_key"}
"""The secrets that hold a tenant's own keys."""


def model(caller: Caller | RunCaller, agent: AgentDefinition, name: str) -> Model:
    """Return the model of the catalogue that an agent thinks with.

    It has the tenant's own key, else the platform's; without either it is the mock.
    """
    entry = catalogue.load()[name]
    found = _tenant_key(caller, entry.provider) or platform().get(entry.provider)
    if found is None:
        return MockModel(agent, name)
    from functions.runs.llm import providers  # noqa: PLC0415 - slow to load; the mock needs none

    return providers.ProviderModel(entry, found)


def _tenant_key(caller: Caller | RunCaller, provider: str) -> dict[str, Any] | None:
    name = TENANT_KEYS.get(provider)
    key = tenant_secrets.load(caller, [name]).get(name) if name else None
    return {"api_key": key} if key else None


@cache
def platform() -> dict[str, dict[str, Any]]:
    """Return the platform's own credentials, by provider."""
    s = settings()
    text = s.providers.get_secret_value()
    if s.providers_secret:
        answer = aws.call("secretsmanager", "get_secret_value", SecretId=s.providers_secret)
        text = answer["SecretString"]
    credentials: dict[str, dict[str, Any]] = json.loads(text)
    return credentials
