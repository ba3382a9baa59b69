"""The background: a Lambda durable function, which works on runs until they are over."""

import json
from functools import cache
from typing import Any

from mini_agent.errors import ServiceUnavailable
from mini_agent.identity.callers import RunCaller
from mini_agent.settings import settings
from mini_agent.telemetry import logger


def is_there() -> bool:
    """Tell whether there is a worker for the background."""
    return bool(settings().worker_function)


def start(run: RunCaller) -> None:
    """Hand a queued run to the worker, under the run's id: a second start of it starts nothing.

    Raises ServiceUnavailable.
    """
    if not is_there():
        raise ServiceUnavailable(reason="background")
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - slow to load

    payload = {"tenant_id": str(run.tenant_id), "execution_id": str(run.execution_id)}
    try:
        client().invoke(
            FunctionName=settings().worker_function,
            InvocationType="Event",
            DurableExecutionName=str(run.execution_id),
            Payload=json.dumps(payload).encode(),
        )
    except (BotoCoreError, ClientError) as error:
        logger.warning("no worker for a run", extra={"cause": type(error).__name__})
        raise ServiceUnavailable(reason="background") from error


@cache
def client() -> Any:
    """Return the sandbox's client of Lambda."""
    import boto3  # noqa: PLC0415 - slow to load, and of use for background runs alone
    from botocore.config import Config  # noqa: PLC0415

    return boto3.client(
        "lambda",
        config=Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 3}),
    )
