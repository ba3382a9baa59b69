"""An operator's key, for whoever may invoke this function: all else is done through the API."""

from typing import Any

import psycopg

from mini_agent.identity import api_keys

SCOPES = [api_keys.OPERATOR_SCOPE, "audit:read", "keys:write"]
DAYS = 90
MAKE_KEY = """
insert into app.api_keys (id, name, digest, pepper_version, prefix, last_four, scopes, expires_at)
values (%(id)s, %(name)s, %(digest)s, %(pepper_version)s, %(prefix)s, %(last_four)s, %(scopes)s,
        now() + make_interval(days => %(days)s))
returning expires_at
"""


def make(conn: psycopg.Connection[Any], name: str) -> dict[str, str]:
    """Make a key of the platform's own tenant; return its id, its end, and the key this once.

    The connection is the migrator's; policies hold for the owner of the tables too, so the tenant
    is entered before its row is written. Raises ServiceUnavailable where no peppers can be read.
    """
    key, stored = api_keys.issue()
    with conn.transaction():
        conn.execute("set local role map_owner")
        conn.execute("select set_config('app.tenant_id', %s, true)", (str(api_keys.PLATFORM),))
        [expires_at] = conn.execute(
            MAKE_KEY, stored | {"name": name, "scopes": SCOPES, "days": DAYS}
        ).fetchone() or [None]
    return {"key_id": str(stored["id"]), "key": key, "expires_at": expires_at.isoformat()}
