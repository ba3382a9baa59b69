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


def model(
    caller: Caller | RunCaller, agent: AgentDefinition, name: str, own_key: str | None
) -> Model:
    """Return the model of the catalogue that an agent thinks with.

    It has the tenant's own key, if there is a secret `own_key`, else the platform's; without either
    it is the mock.
    """
    entry = catalogue.load()[name]
    key = tenant_secrets.load(caller, [own_key]).get(own_key) if own_key else None
    found = {"api_key": key} if key else platform().get(entry.provider)
    if found is None:
        return MockModel(agent, name)
    from functions.runs.llm import providers  # noqa: PLC0415 - slow to load; the mock needs none

    return providers.ProviderModel(entry, found)


def own_key(name: str) -> str | None:
    """Return which secret would hold a tenant's own key for a model; None where none can."""
    return TENANT_KEYS.get(catalogue.load()[name].provider) if settings().secrets_key else None


def is_free(name: str) -> bool:
    """Tell whether a model is the mock for every tenant without a key of its own."""
    return catalogue.load()[name].provider not in platform()


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
