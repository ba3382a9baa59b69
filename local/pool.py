"""The part of Lambda: processes that each run one function's handler, one event at a time.

Handlers use either the processor or wait for a model or a tool. So as many events run at once as
there are cores; an event that has waited for its turn runs beside those that seem to wait.
docs/decisions/0002-local-gateway.md has the figures.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from local import REGION
from local.backends import dies_with_parent
from local.sandbox import ERROR, LENGTH

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from local.template import Function

ROOT = Path(__file__).parent.parent
INIT_SECONDS = 10
TURN_SECONDS = 0.25
"""How long an event waits for a core before it runs beside the others."""
MAX_PAYLOAD_BYTES = 6 * 1024 * 1024
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

logger = logging.getLogger("local")


class FunctionError(Exception):
    """A function raised, died, ran out of time or returned too much.

    `error_type` and `error_message` are those of the exception that it raised, else empty.
    """

    def __init__(self, message: str, error_type: str = "", error_message: str = "") -> None:
        super().__init__(message)
        self.error_type, self.error_message = error_type, error_message


@dataclass
class Sandbox:
    """A process that runs a function's handler, as the gateway sees it."""

    process: subprocess.Popen[bytes]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def start(cls, function: Function, log: Path, lambda_url: str) -> Self:
        """Start a process and return once it has loaded the handler.

        Raises EOFError or OSError if it cannot load it, TimeoutError if it takes too long.
        """
        process, ours = _spawn(function, log, lambda_url)
        reader, writer = await asyncio.open_connection(sock=ours)
        sandbox = cls(process, reader, writer)
        try:
            async with asyncio.timeout(max(INIT_SECONDS, function.timeout)):
                await sandbox.receive()
        except BaseException:
            sandbox.kill()
            raise
        return sandbox

    @property
    def is_alive(self) -> bool:
        """Whether the process still exists."""
        return self.process.poll() is None

    async def send(self, message: bytes) -> bytes:
        """Send an event and return the response; EOFError or OSError when the process dies."""
        self.writer.writelines((LENGTH.pack(len(message)), message))
        await self.writer.drain()
        return await self.receive()

    async def receive(self) -> bytes:
        """Return the next message."""
        [length] = LENGTH.unpack(await self.reader.readexactly(LENGTH.size))
        return await self.reader.readexactly(length)

    def kill(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.wait()
        self.writer.close()


class Pool:
    """The sandboxes of one function: at most `size`, each started when an event needs it."""

    def __init__(self, function: Function, size: int, logs: Path, lambda_url: str = "") -> None:
        reserved = function.concurrency
        self.function, self.lambda_url = function, lambda_url
        self.log = logs / f"{function.id}.log"
        self._slots = asyncio.Semaphore(size if reserved is None else min(size, reserved))
        self._cores = asyncio.Semaphore(CORES)
        self._idle: list[Sandbox] = []
        self._is_closed = False

    async def invoke(self, event: bytes, request_id: str, trace_id: str = "") -> bytes:
        """Return the handler's response to an event, both as JSON; raises FunctionError.

        Waits for a sandbox while all of them are busy.
        """
        head = json.dumps({"request_id": request_id, "trace_id": trace_id})
        message = b'%s,"event":%s}' % (head[:-1].encode(), event)
        async with self._slots, self._turn():
            sandbox = await self._take()
            try:
                async with asyncio.timeout(self.function.timeout):
                    response = await sandbox.send(message)
            except TimeoutError:
                sandbox.kill()
                raise self._error(f"timed out after {self.function.timeout:g} s") from None
            except (EOFError, OSError):
                sandbox.kill()
                raise self._error("its process died") from None
            except asyncio.CancelledError:
                sandbox.kill()
                raise
            self._give_back(sandbox)
        return self._result(response)

    async def warm(self) -> None:
        """Start a sandbox ahead of the first event, unless one is there already."""
        async with self._slots, self._turn():
            with suppress(FunctionError):  # the log tells why, and the first event fails too
                self._give_back(await self._take())

    def close(self) -> None:
        """End idle sandboxes now, busy ones after the event that they serve."""
        self._is_closed = True
        while self._idle:
            self._idle.pop().kill()

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Wait for one of the cores, but not for long: who holds one may be waiting itself."""
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await self._cores.acquire()
        except TimeoutError:
            yield
            return
        try:
            yield
        finally:
            self._cores.release()

    async def _take(self) -> Sandbox:
        while self._idle:
            if (sandbox := self._idle.pop()).is_alive:
                return sandbox
            sandbox.kill()  # closes its socket
        try:
            return await Sandbox.start(self.function, self.log, self.lambda_url)
        except (EOFError, OSError):
            raise self._error("cannot load its handler") from None

    def _give_back(self, sandbox: Sandbox) -> None:
        if self._is_closed:
            sandbox.kill()
        else:
            self._idle.append(sandbox)

    def _result(self, response: bytes) -> bytes:
        kind, result = response[:1], response[1:]
        if kind == ERROR:
            raised = json.loads(result)
            name = raised["errorType"]
            raise self._error(f"raised {name}", name, raised["errorMessage"])
        if len(result) > MAX_PAYLOAD_BYTES:
            raise self._error(f"returned {len(result)} bytes, more than {MAX_PAYLOAD_BYTES}")
        return result

    def _error(self, message: str, error_type: str = "", error_message: str = "") -> FunctionError:
        logger.warning("%s %s; see %s", self.function.id, message, self.log)
        return FunctionError(message, error_type, error_message)


def _spawn(
    function: Function, log: Path, lambda_url: str
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Return a sandbox's process and our end of its socket pair; its output goes to the log."""
    ours, theirs = socket.socketpair()
    with theirs, log.open("ab") as output:
        process = subprocess.Popen(
            [
                *dies_with_parent(signal.SIGKILL),
                *(sys.executable, "-u", "-m", "local.sandbox"),
                *(function.id, str(theirs.fileno()), str(function.timeout)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=ROOT,
            env=environment(function, lambda_url),
            pass_fds=(theirs.fileno(),),
            process_group=0,
        )
    return process, ours


def environment(function: Function, lambda_url: str = "") -> dict[str, str]:
    """Return a sandbox's whole environment: the template's variables and those that Lambda sets."""
    return function.environment | {
        # AWS SDKs call this machine's Lambda, with credentials that are worth nothing on AWS.
        "AWS_ENDPOINT_URL_LAMBDA": lambda_url,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "TZ": ":UTC",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'layers/shared'}",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": "local",
        "LAMBDA_TASK_ROOT": str(ROOT),
        "_HANDLER": function.handler,
        "_FUNCTION_ARN": function.arn,
    }
