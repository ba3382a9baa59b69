"""What Lambda is on AWS: sandboxes of a function, started on demand, one event at a time each."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from local import REGION
from local.backends import dies_with_parent
from local.sandbox import ERROR, LENGTH

if TYPE_CHECKING:
    from local.template import Function

ROOT = Path(__file__).parent.parent
INIT_SECONDS = 10
LARGEST_PAYLOAD = 6 * 1024 * 1024

logger = logging.getLogger("local")


class FunctionError(Exception):
    """A function raised, died, ran out of time or answered too much; `told` is what it raised."""

    def __init__(self, message: str, told: str = "") -> None:
        super().__init__(message)
        self.told = told


@dataclass
class Sandbox:
    """A process that runs a function's handler, seen from the gateway."""

    process: subprocess.Popen[bytes]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def start(cls, function: Function, log: Path, lambda_url: str) -> Self:
        """Start a process and return when it has loaded the handler; FunctionError if it cannot."""
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
    def alive(self) -> bool:
        """Whether the process is there."""
        return self.process.poll() is None

    async def exchange(self, message: bytes) -> bytes:
        """Send an event, return the answer; raises EOFError or OSError when the process dies."""
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
    """A function and its sandboxes: at most `size`, started when an event finds none idle."""

    def __init__(self, function: Function, size: int, logs: Path, lambda_url: str = "") -> None:
        reserved = function.concurrency
        self.function, self.lambda_url = function, lambda_url
        self.log = logs / f"{function.id}.log"
        self._slots = asyncio.Semaphore(size if reserved is None else min(size, reserved))
        self._idle: list[Sandbox] = []
        self._closed = False

    async def invoke(self, event: bytes, request_id: str, trace_id: str = "") -> bytes:
        """Return the handler's answer to an event, both as JSON; raises FunctionError.

        Waits for a sandbox while all are busy.
        """
        head = json.dumps({"request_id": request_id, "trace_id": trace_id})
        message = b'%s,"event":%s}' % (head[:-1].encode(), event)
        async with self._slots:
            sandbox = await self._take()
            try:
                async with asyncio.timeout(self.function.timeout):
                    answer = await sandbox.exchange(message)
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
        return self._checked(answer)

    def close(self) -> None:
        """End idle sandboxes now, busy ones after the event that they serve."""
        self._closed = True
        while self._idle:
            self._idle.pop().kill()

    async def _take(self) -> Sandbox:
        while self._idle:
            if (sandbox := self._idle.pop()).alive:
                return sandbox
            sandbox.kill()  # only reaps it
        try:
            return await Sandbox.start(self.function, self.log, self.lambda_url)
        except (EOFError, OSError):
            raise self._error("cannot load its handler") from None

    def _give_back(self, sandbox: Sandbox) -> None:
        if self._closed:
            sandbox.kill()
        else:
            self._idle.append(sandbox)

    def _checked(self, answer: bytes) -> bytes:
        kind, result = answer[:1], answer[1:]
        if kind == ERROR:
            told = json.loads(result)
            raise self._error(f"raised {told['errorType']}", told["errorMessage"])
        if len(result) > LARGEST_PAYLOAD:
            raise self._error(f"answered {len(result)} bytes, more than {LARGEST_PAYLOAD}")
        return result

    def _error(self, message: str, told: str = "") -> FunctionError:
        logger.warning("%s %s; see %s", self.function.id, message, self.log)
        return FunctionError(message, told)


def _spawn(
    function: Function, log: Path, lambda_url: str
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Return a sandbox's process and our end of the way to it; its output goes to the log."""
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
    """Return a sandbox's whole environment: the template's, and what Lambda sets."""
    return function.environment | {
        # AWS SDKs call this machine's Lambda, and sign with what opens nothing on AWS.
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
