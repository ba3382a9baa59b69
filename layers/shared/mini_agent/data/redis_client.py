"""Redis: one client a sandbox, the Lua scripts in `lua/`, and a circuit breaker.

A dead Redis costs a request at most one time limit, and not one while the breaker is open.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.retry import Retry

from mini_agent.settings import Settings, settings

TIMEOUT_SECONDS = 0.1
BREAK_SECONDS = 2.0
"""How long the breaker stays open after a failure."""

LUA = Path(__file__).parents[1] / "lua"
_open_until = 0.0


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
    from mini_agent.data import aws_auth  # noqa: PLC0415 - slow to load, and only needed on AWS

    return {
        "credential_provider": aws_auth.CacheCredentials(s.redis_cache, s.redis_user),
        "ssl_ca_certs": str(aws_auth.ROOTS),
    }


def run_script(name: str, keys: Sequence[str], arguments: Sequence[str | int]) -> Any:
    """Return the answer of `lua/<name>.lua`; raises RedisError."""
    return _script(name)(keys=keys, args=arguments)


@cache
def _script(name: str) -> Script:
    """Return a script that is loaded again wherever the server has lost it."""
    return client().register_script(script_text(name))


def script_text(name: str) -> str:
    """Return the text of `lua/<name>.lua`."""
    return (LUA / f"{name}.lua").read_text()


@contextmanager
def circuit_breaker() -> Iterator[None]:
    """Raise RedisError at once, instead of doing the work, for a while after it has failed."""
    global _open_until  # noqa: PLW0603 - the sandbox's one breaker
    if time.monotonic() < _open_until:
        raise RedisError("not asked again so soon after a failure")
    try:
        yield
    except RedisError:
        _open_until = time.monotonic() + BREAK_SECONDS
        raise


def close() -> None:
    """Close the sandbox's client and its breaker; the next command connects again."""
    global _open_until  # noqa: PLW0603 - the sandbox's one breaker
    if client.cache_info().currsize:
        client().close()
    client.cache_clear()
    _script.cache_clear()
    _open_until = 0.0
