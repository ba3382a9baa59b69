"""The tasks of a sweep, which share its time: one short transaction each in turn, so none starves.

Two sweeps at once do no harm: each task locks the rows that it changes, or skips locked ones.
"""

import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice
from operator import attrgetter
from uuid import UUID

from redis import RedisError

from mini_agent.data import db, redis_client
from mini_agent.http import rate_limit
from mini_agent.telemetry import logger

TIME_LIMIT_SECONDS = 30.0
"""For all tasks together; the last statement may take 20 more, and the function has 60."""

BATCH = 200
"""Rows per transaction, so that it holds its locks briefly: a run's steps are deleted with it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _ExpiryCounts:
    expired_runs: int
    deleted_responses: int


@dataclass(frozen=True, slots=True)
class _RowCount:
    count: int


@dataclass(frozen=True, slots=True)
class _KeyUse:
    tenant_id: UUID
    key_id: str
    microseconds: str

    @property
    def time(self) -> datetime:
        return _EPOCH + timedelta(microseconds=int(self.microseconds))


Task = Iterator[dict[str, int]]
"""Commits one transaction at each step and yields its counts; ends when nothing is left to do."""


def sweep() -> tuple[dict[str, int], list[Exception]]:
    """Run the tasks in turn until all have ended or the time is over.

    Returns the counts of all transactions and the errors of failed tasks, which stop no other task.
    """
    counts = Counter(
        expired_runs=0, deleted_responses=0, deleted_runs=0, purged_rows=0, recorded_key_uses=0
    )
    failures: list[Exception] = []
    tasks = deque([_expire(), _delete_old_runs(), _purge_tenants(), _record_key_uses()])
    end = time.monotonic() + TIME_LIMIT_SECONDS
    while tasks and time.monotonic() < end:
        task = tasks.popleft()
        try:
            counts.update(next(task))
            tasks.append(task)
        except StopIteration:
            pass
        except RedisError as error:
            logger.warning("uses of keys were not recorded", extra={"cause": str(error)})
        except Exception as error:  # noqa: BLE001 - the other tasks continue
            logger.exception("a task of the sweep failed")
            failures.append(error)
    return dict(counts), failures


def _expire() -> Task:
    largest = BATCH
    while largest == BATCH:
        [counts] = db.call("sweep/expire_runs_and_responses", {"batch": BATCH}, _ExpiryCounts)
        yield asdict(counts)
        largest = max(counts.expired_runs, counts.deleted_responses)


def _delete_old_runs() -> Task:
    while count := _row_count("sweep/delete_old_runs", batch=BATCH):
        yield {"deleted_runs": count}


def _purge_tenants() -> Task:
    while count := _row_count("sweep/purge_tenant", batch=BATCH):
        yield {"purged_rows": count}


def _record_key_uses() -> Task:
    """Move the last uses of keys from Redis to Postgres; Redis deletes them after the commit."""
    uses = _key_uses()
    while batch := list(islice(uses, BATCH)):
        count = _row_count(
            "sweep/record_key_use",
            tenants=[use.tenant_id for use in batch],
            keys=[UUID(use.key_id) for use in batch],
            times=[use.time for use in batch],
        )
        _delete_from_redis(batch)
        yield {"recorded_key_uses": count}


def _row_count(query: str, **parameters: object) -> int:
    [row] = db.call(query, parameters, _RowCount)
    return row.count


def _key_uses() -> Iterator[_KeyUse]:
    redis = redis_client.client()
    for name in redis.scan_iter(match=rate_limit.key_uses_name("*"), count=1000):
        tenant_id = UUID(name.decode().partition("{")[2].partition("}")[0])
        for key_id, microseconds in redis.hscan_iter(name, count=BATCH):
            yield _KeyUse(tenant_id, key_id.decode(), microseconds.decode())


def _delete_from_redis(uses: list[_KeyUse]) -> None:
    for tenant_id, of_tenant in groupby(uses, attrgetter("tenant_id")):
        pairs = [text for use in of_tenant for text in (use.key_id, use.microseconds)]
        redis_client.run_script("forget_key_uses", [rate_limit.key_uses_name(tenant_id)], pairs)
