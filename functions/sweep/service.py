"""The parts of a sweep, and how they share its time."""

import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice
from operator import attrgetter
from uuid import UUID

from redis import RedisError

from mini_agent.data import db, redis_client
from mini_agent.http import rate_limit
from mini_agent.telemetry import logger

SECONDS = 30.0
"""For all parts together; a last statement may take 20 more, and the function has 60."""

BATCH = 200
"""Rows of a transaction, so that its locks are short: a run's steps go with it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Swept:
    ended: int
    forgotten: int


@dataclass(frozen=True, slots=True)
class _Count:
    count: int


@dataclass(frozen=True, slots=True)
class _Use:
    tenant_id: UUID
    key_id: str
    microseconds: str

    @property
    def time(self) -> datetime:
        return _EPOCH + timedelta(microseconds=int(self.microseconds))


Part = Iterator[dict[str, int]]
"""Does one transaction each time it is asked, tells what that did, and ends when all is done."""


def sweep() -> tuple[dict[str, int], list[Exception]]:
    """Ask the parts in turn until all have ended or the time is over.

    Returns how much of each kind was done, and what stopped a part, which stops no other.
    """
    done = Counter(ended=0, forgotten=0, retired=0, purged=0, noted=0)
    failures: list[Exception] = []
    parts = deque([_end_runs(), _retire(), _purge(), _note_uses()])
    end = time.monotonic() + SECONDS
    while parts and time.monotonic() < end:
        part = parts.popleft()
        try:
            done.update(next(part))
            parts.append(part)
        except StopIteration:
            pass
        except RedisError as error:
            logger.warning("uses of keys stay unnoted", extra={"cause": str(error)})
        except Exception as error:  # noqa: BLE001 - the other parts go on
            logger.exception("a part of the sweep failed")
            failures.append(error)
    return dict(done), failures


def _end_runs() -> Part:
    most = BATCH
    while most == BATCH:
        [swept] = db.call("sweep/sweep", {"batch": BATCH}, _Swept)
        most = max(swept.ended, swept.forgotten)
        yield {"ended": swept.ended, "forgotten": swept.forgotten}


def _retire() -> Part:
    while count := _count("sweep/retire", batch=BATCH):
        yield {"retired": count}


def _purge() -> Part:
    while count := _count("sweep/purge", batch=BATCH):
        yield {"purged": count}


def _note_uses() -> Part:
    """Move when keys were used from Redis into Postgres, which has it before Redis forgets it."""
    uses = _uses()
    while batch := list(islice(uses, BATCH)):
        count = _count(
            "sweep/note_use",
            tenants=[use.tenant_id for use in batch],
            keys=[UUID(use.key_id) for use in batch],
            times=[use.time for use in batch],
        )
        _forget(batch)
        yield {"noted": count}


def _count(query: str, **parameters: object) -> int:
    [row] = db.call(query, parameters, _Count)
    return row.count


def _uses() -> Iterator[_Use]:
    redis = redis_client.client()
    for name in redis.scan_iter(match=rate_limit.key_uses_name("*"), count=1000):
        tenant_id = UUID(name.decode().partition("{")[2].partition("}")[0])
        for key_id, microseconds in redis.hscan_iter(name, count=BATCH):
            yield _Use(tenant_id, key_id.decode(), microseconds.decode())


def _forget(uses: list[_Use]) -> None:
    for tenant_id, of_tenant in groupby(uses, attrgetter("tenant_id")):
        pairs = [text for use in of_tenant for text in (use.key_id, use.microseconds)]
        redis_client.run_script("forget_key_uses", [rate_limit.key_uses_name(tenant_id)], pairs)
