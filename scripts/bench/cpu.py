"""Processor time of this process and of the two servers that it calls, in nanoseconds' steps.

Durations tell how long a caller waits, and depend on what else the machine does; processor time
tells what a request costs. Linux accounts it in /proc/<pid>/schedstat.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from redis import Redis

from mini_agent.settings import settings
from scripts.bench.figures import PROCESSES

if TYPE_CHECKING:
    from collections.abc import Iterable

Spent = dict[str, float]


class Processors:
    """Reads what has been spent so far; all of Postgres's processes count, the WAL writer too."""

    def __init__(self) -> None:
        s = settings()
        with psycopg.connect(
            host=s.database_host, dbname=s.database_name, user=s.database_user
        ) as conn:
            status = Path(f"/proc/{conn.info.backend_pid}/status").read_text()
        self._postmaster = int(status.partition("PPid:")[2].split()[0])
        with Redis.from_url(s.redis_url) as redis:
            self._redis = int(redis.info("server")["process_id"])
        self._known: dict[str, dict[int, float]] = {"postgres": {}, "redis": {}}

    def read(self) -> Spent:
        """Return the seconds that each has spent; only differences mean something."""
        folder = Path(f"/proc/{self._postmaster}/task/{self._postmaster}")
        children = map(int, (folder / "children").read_text().split())
        return {
            "handler": time.process_time(),
            "postgres": self._seconds("postgres", [self._postmaster, *children]),
            "redis": self._seconds("redis", [self._redis]),
        }

    def _seconds(self, server: str, pids: Iterable[int]) -> float:
        """Return what a server's processes have spent, those that have ended included."""
        known = self._known[server]
        for pid in pids:
            try:
                spent = Path(f"/proc/{pid}/schedstat").read_text().split()[0]
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has just ended
            known[pid] = int(spent) / 1e9
        return sum(known.values())


def difference(before: Spent, after: Spent, calls: int) -> Spent:
    """Return the milliseconds that each has spent a call."""
    return {name: 1000 * (after[name] - before[name]) / calls for name in PROCESSES}
