"""The background: a Lambda durable function that works on runs until they are over."""

import json

from mini_agent import aws
from mini_agent.errors import ServiceUnavailable
from mini_agent.identity.callers import RunCaller
from mini_agent.settings import settings
from mini_agent.telemetry import logger


def is_available() -> bool:
    """Return whether this deployment has a worker."""
    return bool(settings().worker_function)


def start(run: RunCaller) -> None:
    """Start a worker for a queued run, named by the run's id, so that a second start does nothing.

    Raises ServiceUnavailable.
    """
    if not is_available():
        raise ServiceUnavailable(reason="background")
    payload = {"tenant_id": str(run.tenant_id), "execution_id": str(run.execution_id)}
    try:
        aws.call(
            "lambda",
            "invoke",
            FunctionName=settings().worker_function,
            InvocationType="Event",
            DurableExecutionName=str(run.execution_id),
            Payload=json.dumps(payload).encode(),
        )
    except aws.AwsError as error:
        logger.warning("no worker started for a run", extra={"cause": error.code})
        raise ServiceUnavailable(reason="background") from error
