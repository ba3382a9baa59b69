"""The bare function: an endpoint's own calls with psycopg and redis-py, JSON in and out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import dict_row
from redis import Redis

from mini_agent.data import queries, redis_client
from mini_agent.http import rate_limit
from mini_agent.settings import settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scripts.bench.endpoints import Endpoint, Exchange


class BareFunction:
    """Serves an endpoint's events as short as it can be done with these two servers."""

    def __init__(self, endpoint: Endpoint) -> None:
        s = settings()
        self.endpoint = endpoint
        self.conn = psycopg.connect(
            host=s.database_host,
            dbname=s.database_name,
            user=s.database_user,
            autocommit=True,
            prepare_threshold=None,
        )
        self.redis = Redis.from_url(s.redis_url)
        self.script = self.redis.script_load(redis_client.script_text("sliding_window"))

    def __call__(self, event: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return an answer; `parameters` spare it the reading of path and query."""
        json.loads(event["body"] or "null")
        caller = event["requestContext"]["authorizer"]
        if self.endpoint.limited:
            tenant, key_id = caller["tenant_id"], caller["key_id"]
            names = f"ratelimit:{{{tenant}}}", rate_limit.key_uses_name(tenant)
            limit, window = caller["requests_per_minute"], rate_limit.WINDOW_SECONDS * 1_000_000
            stays = rate_limit.KEY_USES_SECONDS * 1000
            self.redis.evalsha(self.script, 2, *names, limit, window, key_id, stays)
        rows = [self._exchange(e, caller, parameters) for e in self.endpoint.exchanges]
        return {"statusCode": 200, "body": json.dumps(rows, default=str)}

    def _exchange(
        self, exchange: Exchange, caller: Mapping[str, str], parameters: Mapping[str, Any]
    ) -> list[list[dict[str, Any]]]:
        if not exchange.tenant:
            who = {"tenant_id": caller["tenant_id"], "key_id": caller["key_id"]}
            who |= {"request_id": "request", "address": "192.0.2.1"}
            return [self._send(exchange.queries[0], {**parameters, **who}).fetchall()]
        with self.conn.pipeline():
            if exchange.commit:
                self.conn.execute("BEGIN")
            entering = (caller["tenant_id"], caller["key_id"], "request", "192.0.2.1")
            entry = b"enter_operator" if self.endpoint.operators else b"enter_tenant"
            self.conn.execute(b"select app.%b(%%s, %%s, %%s, %%s)" % entry, entering)
            cursors = [self._send(name, parameters) for name in exchange.queries]
        if exchange.commit:
            self.conn.commit()
        return [cursor.fetchall() if cursor.description else [] for cursor in cursors]

    def _send(self, query: str, parameters: Mapping[str, Any]) -> psycopg.Cursor[dict[str, Any]]:
        return self.conn.cursor(row_factory=dict_row).execute(queries.load(query), parameters)
