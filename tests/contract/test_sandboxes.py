"""How many processes a function gets: as many as there are cores, more while these wait."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from local import pool, template
from local.pool import Pool
from tests.waiting import Hold

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

        # asyncio.run would leave the thread without the event loop that handlers run on.
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            runner.run(with_pool())

    return run


async def obey(sandboxes: Pool, **query: str) -> str:
    """Return the body of the handler's response."""
    event = {"queryStringParameters": query}
    response = await sandboxes.invoke(json.dumps(event).encode(), "r")
    return str(json.loads(response)["body"])


def test_a_warm_function_starts_no_process_for_its_first_event(
    with_one_core: Callable[..., None],
) -> None:
    async def test(sandboxes: Pool) -> None:
        await sandboxes.warm()
        [warm] = sandboxes._idle
        assert await obey(sandboxes, pid="") == str(warm.process.pid)
        await sandboxes.warm()
        assert sandboxes._idle == [warm]

    with_one_core(test)


def test_short_events_share_the_processes_that_the_cores_can_run(
    with_one_core: Callable[..., None],
) -> None:
    async def test(sandboxes: Pool) -> None:
        await sandboxes.warm()
        pids = await asyncio.gather(*(obey(sandboxes, pid="") for _ in range(8)))
        assert len(set(pids)) == 1

    with_one_core(test)


def test_an_event_does_not_wait_for_one_that_waits_itself(
    with_one_core: Callable[..., None], tmp_path: Path
) -> None:
    held = Hold(tmp_path / "hold")
    held.folder.mkdir()

    async def test(sandboxes: Pool) -> None:
        waiting = asyncio.create_task(obey(sandboxes, hold=str(held.folder)))
        await asyncio.to_thread(held.until_held)
        await obey(sandboxes, pid="")
        assert not waiting.done()
        held.release()
        await waiting

    with_one_core(test)
