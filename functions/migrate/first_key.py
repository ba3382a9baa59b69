"""The first tenant of a deployment and its key, for whoever may invoke this function on AWS."""

from typing import Any

import psycopg

from mini_agent import keys
from mini_agent.peppers import peppers

MAKE_TENANT = "insert into app.tenants (id, name) values (%(tenant)s, %(name)s)"
MAKE_KEY = """
insert into app.api_keys (tenant_id, name, digest, pepper_version, prefix, last_four, scopes)
values (%(tenant)s, 'first', %(digest)s, %(version)s, %(prefix)s, %(last_four)s, %(scopes)s)
"""


def make(conn: psycopg.Connection[Any], name: str) -> dict[str, str]:
    """Make a tenant with one key that may do everything; return both, the key this once.

    The connection is the migrator's; policies hold for the owner of the tables too, so the new
    tenant is entered before its rows are written.
    """
    key = keys.generate()
    version, pepper = max(peppers().items())
    with conn.transaction():
        conn.execute("set local role map_owner")
        [tenant] = conn.execute("select gen_random_uuid()").fetchone() or [None]
        conn.execute("select set_config('app.tenant_id', %s::text, true)", (tenant,))
        conn.execute(MAKE_TENANT, {"tenant": tenant, "name": name})
        conn.execute(
            MAKE_KEY,
            {
                "tenant": tenant,
                "digest": keys.digest(key, pepper),
                "version": version,
                "prefix": keys.PREFIX,
                "last_four": key[-4:],
                "scopes": list(keys.SCOPES),
            },
        )
    return {"tenant_id": str(tenant), "key": key}
