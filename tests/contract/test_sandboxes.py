"""How many processes a function gets: as many as there are cores, more while these wait."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from local import pool, template
from local.pool import Pool

TEMPLATE = """
Transform: AWS::Serverless-2016-10-31
Resources:
  Obey:
    Type: AWS::Serverless::Function
    Properties: {Runtime: python3.13, CodeUri: code/, Handler: tests.contract.handlers.obey, Timeout: 5}
"""  # noqa: E501 - a function's properties in a line


@pytest.fixture
def with_one_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a test with a pool of four sandboxes on a machine with one core."""
    monkeypatch.setattr(pool, "CORES", 1)
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    [function] = template.load(tmp_path / "template.yaml", {}).functions.values()

    def run(test: Callable[[Pool], Awaitable[None]]) -> None:
        async def with_pool() -> None:
            sandboxes = Pool(function, 4, tmp_path)
            try:
                await test(sandboxes)
            finally:
                sandboxes.close()

        asyncio.run(with_pool())

    return run


async def obey(sandboxes: Pool, seconds: float) -> Any:
    """Let a sandbox sleep, and return its process id and times."""
    event = {"queryStringParameters": {"sleep": str(seconds)}}
    response = await sandboxes.invoke(json.dumps(event).encode(), "r")
    return json.loads(json.loads(response)["body"])


def test_a_warm_function_starts_no_process_for_its_first_event(
    with_one_core: Callable[..., None],
) -> None:
    async def test(sandboxes: Pool) -> None:
        await sandboxes.warm()
        [warm] = sandboxes._idle
        assert (await obey(sandboxes, 0))["pid"] == warm.process.pid
        assert sandboxes._idle == [warm]
        await sandboxes.warm()
        assert sandboxes._idle == [warm]

    with_one_core(test)


def test_short_events_share_the_processes_that_the_cores_can_run(
    with_one_core: Callable[..., None],
) -> None:
    async def test(sandboxes: Pool) -> None:
        await sandboxes.warm()
        events = await asyncio.gather(*(obey(sandboxes, 0.01) for _ in range(8)))
        assert len({event["pid"] for event in events}) == 1

    with_one_core(test)


def test_an_event_does_not_wait_for_one_that_waits_itself(
    with_one_core: Callable[..., None],
) -> None:
    async def test(sandboxes: Pool) -> None:
        waiting = asyncio.create_task(obey(sandboxes, 4))
        await asyncio.sleep(0.1)
        started = time.monotonic()
        await obey(sandboxes, 0)
        assert time.monotonic() - started > pool.TURN_SECONDS
        assert not waiting.done()
        waiting.cancel()

    with_one_core(test)
