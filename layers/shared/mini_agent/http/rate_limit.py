"""The rate limiter: an exact sliding window for each tenant, kept by `lua/sliding_window.lua`.

The script also records when each key was last used, so that no request writes that to Postgres.
Why a list is enough: `docs/decisions/0005-sliding-window-in-a-list.md`.
"""

import math

from redis import RedisError

from mini_agent.data import redis_client
from mini_agent.errors import RateLimitExceeded, ServiceUnavailable
from mini_agent.identity.callers import Caller
from mini_agent.telemetry import count, logger

WINDOW_SECONDS = 60
KEY_USES_SECONDS = 600
"""How long Redis keeps when a tenant's keys were used; the sweep collects it every minute."""


def admit(caller: Caller, *, required: bool) -> dict[str, str]:
    """Count a request against its tenant's limit and return its response's rate limit headers.

    Raises RateLimitExceeded over the limit. While Redis is unavailable, requests pass uncounted;
    with `required`, for requests that spend money, it raises ServiceUnavailable instead.
    """
    limit = caller.requests_per_minute
    headers = _static_headers(limit)
    try:
        is_admitted, remaining, seconds = _run_script(
            [f"ratelimit:{{{caller.tenant_id}}}", key_uses_name(caller.tenant_id)],
            limit,
            str(caller.key_id),
            KEY_USES_SECONDS * 1000,
        )
    except RedisError as error:
        unavailable = _unavailable(error)
        if required:
            unavailable.headers |= headers
            raise unavailable from error
        return headers
    headers |= {
        "X-RateLimit-Remaining": str(remaining),
        "RateLimit": f'"default";r={remaining};t={seconds}',
    }
    if not is_admitted:
        exceeded = _exceeded(limit, seconds)
        exceeded.headers |= headers
        raise exceeded
    return headers


def admit_run(caller: Caller, limit: int) -> None:
    """Count a run against its tenant's limit of runs a minute.

    Raises RateLimitExceeded over the limit, ServiceUnavailable while Redis is unavailable.
    """
    try:
        is_admitted, _, seconds = _run_script([f"ratelimit:{{{caller.tenant_id}}}:runs"], limit)
    except RedisError as error:
        raise _unavailable(error) from error
    if not is_admitted:
        raise _exceeded(limit, seconds)


def key_uses_name(tenant: object) -> str:
    """Return the name of the hash of when a tenant's keys were used; `*` matches any tenant."""
    return f"ratelimit:{{{tenant}}}:keys"


def _run_script(names: list[str], limit: int, *use: str | int) -> tuple[int, int, int]:
    """Return 1 if admitted, how many more would be, and the seconds until one more may come."""
    arguments = [limit, WINDOW_SECONDS * 1_000_000, *use]
    with redis_client.circuit_breaker():
        is_admitted, remaining, wait = redis_client.run_script("sliding_window", names, arguments)
    return is_admitted, remaining, math.ceil(wait / 1_000_000)


def _unavailable(error: RedisError) -> ServiceUnavailable:
    count("LimiterFailures")
    logger.warning("rate limiter unavailable", extra={"cause": str(error)})
    return ServiceUnavailable(reason="rate_limiter")


def _exceeded(limit: int, seconds: int) -> RateLimitExceeded:
    count("LimiterDenials")
    exceeded = RateLimitExceeded(
        limit=limit, window_seconds=WINDOW_SECONDS, retry_after_seconds=seconds
    )
    exceeded.retry_after = seconds
    return exceeded


def _static_headers(limit: int) -> dict[str, str]:
    """Return the headers that are known without Redis; `RateLimit` follows the IETF's draft 10."""
    return {
        "X-RateLimit-Limit": str(limit),
        "X-RateLimit-Window": str(WINDOW_SECONDS),
        "RateLimit-Policy": f'"default";q={limit};w={WINDOW_SECONDS}',
    }
