"""Durable functions that the local Lambda API is tested with; `folder` gets their marks."""

import os
from pathlib import Path
from typing import Any

from aws_durable_execution_sdk_python import DurableContext, durable_execution
from aws_durable_execution_sdk_python.config import CallbackConfig, Duration


@durable_execution
def crash_once(event: dict[str, Any], context: DurableContext) -> str:
    """Die at the first try, after a step; answer at the second."""
    folder = Path(event["folder"])
    context.step(lambda _: _mark(folder, "step"), name="step")
    if _mark(folder, "try") == 1:
        os._exit(1)
    return "done"


@durable_execution
def count(event: dict[str, Any], context: DurableContext) -> int:
    """Leave a mark."""
    return context.step(lambda _: _mark(Path(event["folder"]), "start"), name="step")


@durable_execution
def ask(event: dict[str, Any], context: DurableContext) -> str:
    """Leave a callback's id, wait for what is sent to it, and tell it."""
    folder = Path(event["folder"])
    limit = CallbackConfig(timeout=Duration.from_seconds(event.get("seconds", 60)))
    callback = context.create_callback(name="question", config=limit)
    context.step(lambda _: (folder / "callback").write_text(callback.callback_id), name="tell")
    return str(callback.result())


def _mark(folder: Path, name: str) -> int:
    """Count how often this happened, and return that."""
    with (folder / name).open("a") as file:
        file.write("x")
        return file.tell()
