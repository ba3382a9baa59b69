"""Runs in the background: a Lambda durable function, one durable execution a run.

The journal in Postgres says how far a run is. Lambda starts one worker for a run's id, calls it
again after a crash, and lets it wait for an approval without compute; it keeps nothing of a run but
its approvals' callbacks (`docs/decisions/0013-a-runs-journal.md`).
"""

from typing import Any, NoReturn
from uuid import UUID

from aws_durable_execution_sdk_python import DurableContext, durable_execution
from aws_durable_execution_sdk_python.config import CallbackConfig, Duration
from aws_durable_execution_sdk_python.exceptions import CallbackError, InvocationError

from functions.runs import service
from functions.runs.engine.journal import Journal
from functions.runs.llm.messages import ToolCall
from mini_agent.identity.callers import RunCaller
from mini_agent.telemetry import logger, metrics


class ApprovalDecided(Exception):
    """A person has decided, or the time to decide is over: the run is claimed anew."""


class CallbackApprovals:
    """Waits for each approval with a callback of its own, without compute meanwhile.

    A durable function must ask for the same operations in the same order whenever it is called
    again, so a decided approval asks for its callback, too.
    """

    def __init__(self, context: DurableContext) -> None:
        self._context = context
        self._callbacks: dict[int, Any] = {}

    def wait(self, journal: Journal, number: int, call: ToolCall, seconds: int) -> NoReturn:
        """Write the approval with its callback, and suspend; raises ApprovalDecided afterwards."""
        callback = self._callback(number, seconds)
        journal.await_approval(
            number,
            tool=call.name,
            arguments=call.arguments,
            callback=callback.callback_id,
            seconds=seconds,
        )
        try:
            callback.result()
        except CallbackError:
            logger.info("an approval was not decided in time")
        raise ApprovalDecided

    def replay(self, number: int) -> None:
        """Ask for the callback of a decided step, as the first attempt did."""
        self._callback(number, 1)

    def _callback(self, number: int, seconds: int) -> Any:
        if number not in self._callbacks:
            config = CallbackConfig(timeout=Duration.from_seconds(seconds))
            self._callbacks[number] = self._context.create_callback(f"approval-{number}", config)
        return self._callbacks[number]


@durable_execution
def _work(event: dict[str, str], context: DurableContext) -> str:
    """Work on a run until it is over and return its status."""
    run = RunCaller(UUID(event["tenant_id"]), UUID(event["execution_id"]))
    logger.append_keys(tenant_id=event["tenant_id"], execution_id=event["execution_id"])
    owner = context.execution_context.durable_execution_arn
    approvals = CallbackApprovals(context)
    while True:
        try:
            state = service.work(run, owner, approvals)
        except ApprovalDecided:
            continue
        except Exception as error:
            # Any other exception would end the durable execution; after this Lambda calls again.
            logger.exception("a run's attempt failed")
            raise InvocationError(type(error).__name__) from error
        return state.status if state else "not claimed"


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: Any) -> Any:
    """Handle one invocation of the durable function."""
    return _work(event, context)
