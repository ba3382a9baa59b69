"""The rate limiter: an exact sliding window for each tenant, in one Lua script in Redis.

The same script notes when each key was used last, so that no request writes that into Postgres.
"""

import math
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.retry import Retry

from mini_agent.errors import RateLimitExceeded, ServiceUnavailable
from mini_agent.identity.callers import Caller
from mini_agent.settings import Settings, settings
from mini_agent.telemetry import count, logger

WINDOW_SECONDS = 60
USES_SECONDS = 600
"""How long it stays noted when a tenant's keys were used: the sweep takes it along each minute."""
TIMEOUT_SECONDS = 0.1
BREAK_SECONDS = 2.0
"""After a failure Redis is left alone for so long, and requests do not wait for it."""

SCRIPT = Path(__file__).parents[1] / "lua" / "sliding_window.lua"
_closed_until = 0.0


@cache
def client() -> Redis:
    """Return the sandbox's client; it connects at its first command and never retries.

    A retry would hold the caller: with the library's defaults, 3.4 s when Redis is a black hole.
    """
    s = settings()
    return Redis.from_url(
        s.redis_url,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
        **(_sign_in(s) if s.database_auth == "iam" else {}),
    )


def _sign_in(s: Settings) -> dict[str, Any]:
    from mini_agent.data import aws_auth  # noqa: PLC0415 - slow to load, and of use on AWS alone

    return {
        "credential_provider": aws_auth.CacheCredentials(s.redis_cache, s.redis_user),
        "ssl_ca_certs": str(aws_auth.ROOTS),
    }


@cache
def _script(file: Path = SCRIPT) -> Script:
    return client().register_script(file.read_text())


def run(file: Path, keys: Sequence[str], arguments: Sequence[str | int]) -> Any:
    """Return what a script answers; raises RedisError."""
    return _script(file)(keys=keys, args=arguments)


def admit(caller: Caller, *, required: bool) -> dict[str, str]:
    """Count a request against its tenant's window and return the headers of its answer.

    Raises RateLimitExceeded where the window is full. While Redis is away, requests pass uncounted,
    or, where the limiter is `required` because they spend money, raise ServiceUnavailable.
    """
    limit = caller.requests_per_minute
    try:
        admitted, remaining, wait = _ask(
            [f"ratelimit:{{{caller.tenant_id}}}", uses_name(caller.tenant_id)],
            limit,
            str(caller.key_id),
            USES_SECONDS * 1000,
        )
    except RedisError as error:
        away = _away(error)
        if required:
            away.headers |= _headers(limit)
            raise away from error
        return _headers(limit)
    seconds = math.ceil(wait / 1_000_000)
    headers = _headers(limit) | {
        "X-RateLimit-Remaining": str(remaining),
        "RateLimit": f'"default";r={remaining};t={seconds}',
    }
    if not admitted:
        refusal = _refusal(limit, seconds)
        refusal.headers |= headers
        raise refusal
    return headers


def admit_run(caller: Caller, limit: int) -> None:
    """Count a run against its tenant's window for runs.

    Raises RateLimitExceeded where that is full, ServiceUnavailable while Redis is away.
    """
    try:
        admitted, _, wait = _ask([f"ratelimit:{{{caller.tenant_id}}}:runs"], limit)
    except RedisError as error:
        raise _away(error) from error
    if not admitted:
        raise _refusal(limit, math.ceil(wait / 1_000_000))


def _away(error: RedisError) -> ServiceUnavailable:
    count("LimiterFailures")
    logger.warning("rate limiter away", extra={"cause": str(error)})
    return ServiceUnavailable(reason="rate_limiter")


def _refusal(limit: int, seconds: int) -> RateLimitExceeded:
    count("LimiterDenials")
    refusal = RateLimitExceeded(
        limit=limit, window_seconds=WINDOW_SECONDS, retry_after_seconds=seconds
    )
    refusal.headers = {"Retry-After": str(seconds)}
    return refusal


def _ask(names: list[str], limit: int, *noted: str | int) -> tuple[int, int, int]:
    global _closed_until  # noqa: PLW0603 - the breaker's state, one a sandbox
    if time.monotonic() < _closed_until:
        raise RedisError("left alone after a failure")
    try:
        answer = run(SCRIPT, names, [limit, WINDOW_SECONDS * 1_000_000, *noted])
    except RedisError:
        _closed_until = time.monotonic() + BREAK_SECONDS
        raise
    admitted, remaining, wait = answer
    return admitted, remaining, wait


def uses_name(tenant: object) -> str:
    """Return the name of the hash that holds when a tenant's keys were used; `*` is any tenant."""
    return f"ratelimit:{{{tenant}}}:keys"


def _headers(limit: int) -> dict[str, str]:
    """Return what is known without Redis; `RateLimit` fields after the IETF's draft 10."""
    return {
        "X-RateLimit-Limit": str(limit),
        "X-RateLimit-Window": str(WINDOW_SECONDS),
        "RateLimit-Policy": f'"default";q={limit};w={WINDOW_SECONDS}',
    }
