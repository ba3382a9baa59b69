"""Tenants of a running platform, besides the local profile's two: those are soon at their limit."""

from uuid import uuid4

import psycopg

from local.__main__ import PEPPERS
from mini_agent.identity import api_keys
from tests.contract.conftest import LocalStack


def add_tenant(
    stack: LocalStack,
    *,
    number_of_keys: int = 1,
    requests_per_minute: int = 1_000_000,
    scopes: tuple[str, ...] = api_keys.SCOPES,
) -> list[str]:
    """Make a tenant, without a limit to speak of unless told, and return its keys."""
    [(version, pepper)] = PEPPERS.items()
    tenant, made = uuid4(), [api_keys.generate() for _ in range(number_of_keys)]
    with admin(stack) as conn:
        conn.execute(
            "insert into app.tenants (id, name, requests_per_minute) values (%s, 'test', %s)",
            (tenant, requests_per_minute),
        )
        conn.cursor().executemany(
            "insert into app.api_keys"
            " (tenant_id, name, digest, pepper_version, prefix, last_four, scopes)"
            " values (%s, 'test', %s, %s, %s, %s, %s)",
            [
                (
                    tenant,
                    api_keys.digest(key, pepper),
                    version,
                    api_keys.PREFIX,
                    key[-4:],
                    list(scopes),
                )
                for key in made
            ],
        )
    return made


def admin(stack: LocalStack) -> psycopg.Connection:
    """Return a superuser's connection to the platform's database, past every policy."""
    return psycopg.connect(host=stack.postgres_socket, user="postgres", dbname="map")
