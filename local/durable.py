"""What keeps durable executions, as AWS does for durable functions: the SDK's own local runner.

    python -m local.durable SOCKET STORE LAMBDA_ENDPOINT

It listens on a Unix socket, which no page in a browser can reach; `local.lambda_api` passes on what
functions ask of it. Everything about an execution is in the store, a SQLite file. Only timers are
not: a start sets those of all unfinished executions anew and goes on with each.
"""

from __future__ import annotations

import logging
import socket
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from aws_durable_execution_sdk_python.lambda_service import OperationAction, OperationStatus
from aws_durable_execution_sdk_python_testing.checkpoint.processor import CheckpointProcessor
from aws_durable_execution_sdk_python_testing.executor import Executor
from aws_durable_execution_sdk_python_testing.invoker import LambdaInvoker
from aws_durable_execution_sdk_python_testing.scheduler import Scheduler
from aws_durable_execution_sdk_python_testing.stores.sqlite import SQLiteExecutionStore
from aws_durable_execution_sdk_python_testing.token import CallbackToken
from aws_durable_execution_sdk_python_testing.web.server import (
    RequestHandler,
    WebServer,
    WebServiceConfig,
)

from local import REGION

if TYPE_CHECKING:
    from aws_durable_execution_sdk_python_testing.execution import Execution


class Handler(RequestHandler):
    """Serves clients that have no address."""

    def address_string(self) -> str:
        """Return who is there, for the log."""
        return "local"


class PromptExecutor(Executor):
    """Calls a function again that has failed, without AWS's patience."""

    RETRY_BACKOFF_SECONDS = 1


class Server(WebServer):
    """The runner's server on a Unix socket."""

    address_family = socket.AF_UNIX
    request_queue_size = 1024

    def __init__(self, path: Path, executor: Executor) -> None:
        self.path = path
        super().__init__(WebServiceConfig(log_level=logging.WARNING), executor)
        self.RequestHandlerClass = Handler

    def server_bind(self) -> None:
        """Bind the path, which an earlier run may have left behind."""
        self.path.unlink(missing_ok=True)
        self.socket.bind(str(self.path))


def main() -> None:
    """Serve until a signal."""
    path, file, endpoint = sys.argv[1:]
    store = SQLiteExecutionStore.create_and_initialize(file)
    scheduler = Scheduler()
    executor = PromptExecutor(
        store,
        scheduler,
        LambdaInvoker.create(endpoint, REGION),
        CheckpointProcessor(store, scheduler),
        region=REGION,
    )
    scheduler.start()  # type: ignore[no-untyped-call] # has no types
    with Server(Path(path), executor) as server:
        for execution in store.list_all():
            if not execution.is_complete:
                _go_on(executor, execution)
        server.serve_forever()


def _go_on(executor: Executor, execution: Execution) -> None:
    """Set an execution's timers anew, to what is left of their time, and call its function."""
    arn = execution.durable_execution_arn
    open_callbacks = {
        operation.operation_id: operation.callback_details.callback_id
        for operation in execution.operations
        if operation.callback_details and operation.status is OperationStatus.STARTED
    }
    updates = zip(execution.updates, execution.update_timestamps, strict=True)
    for update, at in updates:
        callback = open_callbacks.get(update.operation_id)
        if callback and update.callback_options and update.action is OperationAction.START:
            limit = update.callback_options.timeout_seconds
            executor.on_callback_created(
                arn,
                update.operation_id,
                replace(update.callback_options, timeout_seconds=_left(at, limit)),
                CallbackToken.from_str(callback),
            )
    started = execution.get_operation_execution_started().start_timestamp
    limit = execution.start_input.execution_timeout_seconds
    # Nothing public goes on with an execution: callers start new ones, which get other ARNs, while
    # people hold callbacks of these.
    executor._launch_execution(execution, _left(started, limit))  # noqa: SLF001 - see above


def _left(start: datetime | None, seconds: int) -> int:
    """Return what is left of a time limit, at least a second; 0 is no limit."""
    now = datetime.now(UTC)
    end = (start or now) + timedelta(seconds=seconds)
    return seconds and max(1, round((end - now).total_seconds()))


if __name__ == "__main__":
    main()
