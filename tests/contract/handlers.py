"""Small Lambda handlers, with which the local gateway's own rules are tested."""

import base64
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

Event = dict[str, Any]
RELEASE = "release"
"""The file that lets held functions go on."""
calls = 0


def echo(event: Event, context: Any) -> Event:
    """Answer with what came in."""
    seen = {
        "event": event,
        "environment": dict(os.environ),
        "pid": os.getpid(),
        "context": {
            "aws_request_id": context.aws_request_id,
            "function_name": context.function_name,
            "memory_limit_in_mb": context.memory_limit_in_mb,
            "invoked_function_arn": context.invoked_function_arn,
            "remaining": context.get_remaining_time_in_millis(),
        },
    }
    return {"statusCode": 200, "body": json.dumps(seen)}


def obey(event: Event, _: Any) -> Any:
    """Do what the query says."""
    asked = event["queryStringParameters"] or {}
    if "print" in asked:
        print(asked["print"])
    if "hold" in asked:
        started = time.monotonic()
        hold(Path(asked["hold"]))
        span = {"pid": os.getpid(), "started": started, "ended": time.monotonic()}
        return {"statusCode": 200, "body": json.dumps(span)}
    if "pid" in asked:
        return {"statusCode": 200, "body": str(os.getpid())}
    if "raise" in asked:
        raise RuntimeError(asked["raise"])
    if "exit" in asked:
        sys.exit(int(asked["exit"]))
    if "letters" in asked:
        return {"statusCode": 200, "body": "x" * int(asked["letters"])}
    if "base64" in asked:
        body = base64.b64encode(bytes.fromhex(asked["base64"])).decode()
        return {"statusCode": 200, "body": body, "isBase64Encoded": True}
    return json.loads(asked["answer"])


def authorize(event: Event, _: Any) -> Any:
    """Allow what the key names; `calls` tells how often this was asked."""
    global calls  # noqa: PLW0603 - what a sandbox keeps between events
    calls += 1
    keys = [
        value
        for name, values in event["multiValueHeaders"].items()
        if name.lower() == "x-api-key"
        for value in values
    ]
    key = keys[-1]
    if key == "unauthorized":
        raise Exception("Unauthorized")  # noqa: TRY002 - the words that API Gateway knows
    if key == "broken":
        raise RuntimeError("no database")
    if key == "slow":
        threading.Event().wait()
    if key == "junk":
        return {"principalId": "someone"}
    stage = event["methodArn"].split("/")[:2]
    resources = {"narrow": ["GET", "echo"], "deep": ["GET", "?cho", "*"]}.get(key, ["*"])
    context = {"calls": calls, "keys": len(keys), "flag": True}
    return {
        "principalId": key,
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Action": "execute-api:Invoke",
                    "Effect": "Deny" if key == "denied" else "Allow",
                    "Resource": "/".join([*stage, *resources]),
                }
            ],
        },
        "context": context | {"nested": {}} if key == "nested" else context,
    }


def hold(folder: Path) -> None:
    """Leave a file that says we are here, and wait until the test releases us."""
    (folder / f"held-{uuid4()}").touch()
    while not (folder / RELEASE).exists():
        time.sleep(0.01)


def mark(event: Event, _: Any) -> None:
    """Leave a mark in a folder."""
    folder = Path(event["folder"])
    if event.get("hold"):
        hold(folder)
    with (folder / "mark").open("a") as file:
        file.write("x")


def next_event(event: Event, _: Any) -> Event:
    """Return the server-sent event after the last that the client has seen, until all are sent."""
    asked = event["queryStringParameters"]
    headers = {name.lower(): value for name, value in event["headers"].items()}
    last = headers.get("last-event-id")
    with (Path(asked["folder"]) / "calls").open("a") as file:
        call = {"last": last, "x": headers.get("x"), "at": time.monotonic()}
        print(json.dumps(call), file=file)
    number = int(last or 0)
    if last and last == asked.get("fail"):
        raise RuntimeError("no more")
    if number >= int(asked["until"]):
        return {"statusCode": 204}
    if number > 1 and "hold" in asked:
        hold(Path(asked["folder"]))
    body = f"retry: {asked.get('retry', 0)}\n\nid: {number + 1}\ndata: of {number}\n\n"
    return {
        "statusCode": 200,
        "headers": {"Content-Type": "text/event-stream"},
        "body": body,
    }
