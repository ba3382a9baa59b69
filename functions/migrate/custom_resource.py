"""CloudFormation's custom-resource protocol: every request must be answered, at the URL it brings.

See "Custom resource response objects" in the AWS CloudFormation user guide.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.request import Request, urlopen

from mini_agent.telemetry import logger

ANSWER_SECONDS = 30
LONGEST_REASON = 2000  # CloudFormation cuts an answer of more than 4 KB off as a failure


def respond(event: Mapping[str, Any], work: Callable[[], Mapping[str, Any]]) -> None:
    """Do the work, unless the resource is being deleted, and tell CloudFormation how it ended.

    An exception becomes the reason that the stack's events show while it rolls back.
    """
    answer: dict[str, Any] = {"Status": "SUCCESS", "Data": {}}
    try:
        if event["RequestType"] != "Delete":
            answer["Data"] = dict(work())
    except Exception as error:  # noqa: BLE001 - whatever it was, the stack must hear of it
        logger.exception("the custom resource failed")
        reason = f"{type(error).__name__}: {error}"
        answer = {"Status": "FAILED", "Reason": reason[:LONGEST_REASON]}
    _send(event, answer)


def _send(event: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
    logical_id = event["LogicalResourceId"]
    body = {
        **answer,
        "PhysicalResourceId": event.get("PhysicalResourceId", logical_id),
        **{name: event[name] for name in ("StackId", "RequestId", "LogicalResourceId")},
    }
    # The URL is CloudFormation's own; a presigned one refuses a content type.
    request = Request(  # noqa: S310 - see above
        event["ResponseURL"], json.dumps(body).encode(), {"Content-Type": ""}, method="PUT"
    )
    urlopen(request, timeout=ANSWER_SECONDS).close()  # noqa: S310 - see above
