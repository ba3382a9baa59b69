"""Whether what the platform needs is up."""

import time
from collections.abc import Callable

from redis import RedisError

from functions.system.models import Dependency, Ping, Readiness
from mini_agent.data import db, redis_client
from mini_agent.errors import ServiceUnavailable


def readiness() -> Readiness:
    """Return each dependency's state; raises ServiceUnavailable, with them, if one is down."""
    states = {
        "database": _probe(lambda: db.call("system/ping", {}, Ping)),
        "rate_limiter": _probe(lambda: redis_client.client().ping()),
    }
    down = [name for name, dependency in states.items() if dependency.state == "down"]
    if down:
        raise ServiceUnavailable(
            reason=", ".join(down), dependencies={n: d.model_dump() for n, d in states.items()}
        )
    return Readiness(status="ready", dependencies=states)


def _probe(ask: Callable[[], object]) -> Dependency:
    started = time.perf_counter()
    try:
        ask()
    except (ServiceUnavailable, RedisError):
        state = "down"
    else:
        state = "up"
    return Dependency.model_validate(
        {"state": state, "latency_ms": round((time.perf_counter() - started) * 1000, 2)}
    )
