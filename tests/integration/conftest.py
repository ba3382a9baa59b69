"""Clients of two tenants."""

import pytest

from mini_agent.tenant import Caller
from tests.integration.client import Client


@pytest.fixture
def client(tenant: Caller) -> Client:
    return Client(tenant)


@pytest.fixture
def other(stranger: Caller) -> Client:
    return Client(stranger)
