"""The part of Lambda's runtime: a process that loads one handler and serves one event at a time.

The pool starts it as `python -m local.sandbox FUNCTION FD TIMEOUT`; FD is its end of a socket pair.
A message is its length in four bytes, then its bytes. An event is a JSON object with `request_id`,
`trace_id` and `event`; a response is one byte, RESULT or ERROR, then JSON.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import time
import traceback
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import BufferedReader

READY, RESULT, ERROR = b"+", b"r", b"e"
LENGTH = struct.Struct(">I")


@dataclass
class Context:
    """The context that Lambda passes to a handler."""

    aws_request_id: str
    deadline: float
    function_name: str = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
    function_version: str = os.environ.get("AWS_LAMBDA_FUNCTION_VERSION", "")
    invoked_function_arn: str = os.environ.get("_FUNCTION_ARN", "")
    memory_limit_in_mb: str = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    log_group_name: str = os.environ.get("AWS_LAMBDA_LOG_GROUP_NAME", "")
    log_stream_name: str = os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME", "")
    identity: None = None
    client_context: None = None

    def get_remaining_time_in_millis(self) -> int:
        """Return how long the handler may still run, in milliseconds."""
        return max(0, int((self.deadline - time.monotonic()) * 1000))


def main() -> None:
    """Load the handler, send READY, and serve events until the gateway closes the socket."""
    _, _, descriptor, timeout = sys.argv
    os.set_inheritable(int(descriptor), False)
    module, _, name = os.environ["_HANDLER"].rpartition(".")
    handler = getattr(import_module(module), name)
    with socket.socket(fileno=int(descriptor)) as gateway, gateway.makefile("rb") as messages:
        _send(gateway, READY)
        while message := _receive(messages):
            _send(gateway, _invoke(handler, message, float(timeout)))


def _invoke(handler: Callable[[Any, Context], Any], message: bytes, timeout: float) -> bytes:
    request = json.loads(message)
    os.environ["_X_AMZN_TRACE_ID"] = request["trace_id"]
    context = Context(request["request_id"], time.monotonic() + timeout)
    try:
        result = handler(request["event"], context)
        return RESULT + json.dumps(result, ensure_ascii=False).encode()
    except Exception as error:  # noqa: BLE001 - whatever a handler raises is its response
        traceback.print_exc()
        raised = {"errorMessage": str(error), "errorType": type(error).__name__}
        return ERROR + json.dumps(raised).encode()


def _receive(messages: BufferedReader) -> bytes:
    """Return the next message, empty once the gateway has closed the socket."""
    length = messages.read(LENGTH.size)
    return messages.read(LENGTH.unpack(length)[0]) if len(length) == LENGTH.size else b""


def _send(gateway: socket.socket, message: bytes) -> None:
    gateway.sendall(LENGTH.pack(len(message)) + message)


if __name__ == "__main__":
    main()
