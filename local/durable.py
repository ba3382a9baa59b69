"""The runner of durable executions: the local one of AWS's SDK, made to survive a restart.

    python -m local.durable SOCKET STORE LAMBDA_ENDPOINT

It listens on a Unix socket, which no page in a browser can reach; `local.lambda_api` passes
functions' requests on. The store is a SQLite file and has everything but the timers: a start sets
the timers of all unfinished executions again and continues each execution.
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
    """Serves the clients of a Unix socket, which have no address."""

    def address_string(self) -> str:
        """Return the client's name for the log."""
        return "local"


class QuickRetryExecutor(Executor):
    """Calls a function that failed again after a second, sooner than AWS."""

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
        """Bind the path, and remove it first if an earlier run left it behind."""
        self.path.unlink(missing_ok=True)
        self.socket.bind(str(self.path))


def main() -> None:
    """Serve until a signal."""
    path, file, endpoint = sys.argv[1:]
    store = SQLiteExecutionStore.create_and_initialize(file)
    scheduler = Scheduler()
    executor = QuickRetryExecutor(
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
                _resume(executor, execution)
        server.serve_forever()


def _resume(executor: Executor, execution: Execution) -> None:
    """Set an execution's timers to the rest of their time, and call its function."""
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
                replace(update.callback_options, timeout_seconds=_remaining(at, limit)),
                CallbackToken.from_str(callback),
            )
    started = execution.get_operation_execution_started().start_timestamp
    limit = execution.start_input.execution_timeout_seconds
    # No public method resumes an execution: a new one would have another ARN, and callbacks that
    # people hold name this one.
    executor._launch_execution(execution, _remaining(started, limit))  # noqa: SLF001 - see above


def _remaining(start: datetime | None, seconds: int) -> int:
    """Return the rest of a time limit in seconds, at least 1; 0 means no limit."""
    now = datetime.now(UTC)
    end = (start or now) + timedelta(seconds=seconds)
    return seconds and max(1, round((end - now).total_seconds()))


if __name__ == "__main__":
    main()
