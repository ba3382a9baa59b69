"""Runs in the background: a Lambda durable function, one durable execution a run.

The journal in Postgres says how far a run is; the engine brings the worker back. It starts one
execution for a run's name, calls again after a crash, and lets a run wait for a person without
compute. Nothing of a run is kept by the engine but who is waited for.
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
    """A person has decided, or nobody has in time: the run is claimed anew."""


class Callbacks:
    """Waits for people as the engine does: each approval is a callback of its own.

    A durable function must ask for the same operations in the same order whenever it is called
    again, so an approval asks for its callback even when its decision is known.
    """

    def __init__(self, context: DurableContext) -> None:
        self._context = context
        self._known: dict[int, Any] = {}

    def wait(self, journal: Journal, number: int, call: ToolCall, seconds: int) -> NoReturn:
        """Write down what is waited for, and leave the processor until it is there."""
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
            logger.info("nobody decided in time")
        raise ApprovalDecided

    def replay(self, number: int) -> None:
        """Ask for the callback of a decided step, as the first attempt did."""
        self._callback(number, 1)

    def _callback(self, number: int, seconds: int) -> Any:
        if number not in self._known:
            config = CallbackConfig(timeout=Duration.from_seconds(seconds))
            self._known[number] = self._context.create_callback(f"approval-{number}", config)
        return self._known[number]


@durable_execution
def _work(event: dict[str, str], context: DurableContext) -> str:
    """Work on a run until it is over and return its status."""
    run = RunCaller(UUID(event["tenant_id"]), UUID(event["execution_id"]))
    logger.append_keys(tenant_id=event["tenant_id"], execution_id=event["execution_id"])
    owner = context.execution_context.durable_execution_arn
    approvals = Callbacks(context)
    while True:
        try:
            over = service.work(run, owner, approvals)
        except ApprovalDecided:
            continue
        except Exception as error:
            # What nobody foresaw: the engine calls again, some seconds later.
            logger.exception("a run's attempt failed")
            raise InvocationError(type(error).__name__) from error
        return over.status if over else "not ours"


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: Any) -> Any:
    """Handle one call of the engine."""
    return _work(event, context)
