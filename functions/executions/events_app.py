"""Following a run, over HTTP; a Lambda of its own, since it holds requests until an event comes."""

from typing import Annotated, get_args
from uuid import UUID

from fastapi import Header, Response, Security

from functions.executions import events
from functions.executions.models import RunEvent
from mini_agent import errors
from mini_agent.http import api
from mini_agent.identity.callers import Caller

MEDIA_TYPE = "text/event-stream"
RETRY_MILLISECONDS = 10
"""How soon a client reconnects. Not later, since each request waits for events by itself."""

EXAMPLE = """\
retry: 10

id: 3
event: step_started
data: {"number": 2, "kind": "tool", "tool": "web_search", "arguments": {"query": "agent \
frameworks"}, "expires_at": null}

id: 4
event: step_finished
data: {"number": 2, "kind": "tool", "tool": "web_search", "status": "completed", "result": \
{"content": "…"}}

"""

Reader = Annotated[Caller, Security(api.authorize, scopes=["runs:read"])]
LastEventId = Annotated[
    int, Header(ge=0, le=10_000_000, description="The `id` of the last event that was seen")
]

router = api.router("/api/v1/executions", tags=["Runs"])


@router.get(
    "/{execution_id}/events",
    summary="Follow a run",
    response_class=Response,
    responses={
        200: {
            "description": "Server-sent events; reconnect with the last id for those that follow",
            "content": {
                MEDIA_TYPE: {
                    "schema": {
                        "type": "string",
                        "description": (
                            "Each event is the lines `id`, `event` and `data`, the last one JSON,"
                            " and an empty line. A first line `retry` says how many milliseconds"
                            " to wait before reconnecting."
                        ),
                        "contentMediaType": MEDIA_TYPE,
                        "contentSchema": {
                            "oneOf": [
                                {"$ref": f"#/components/schemas/{model.__name__}"}
                                for model in get_args(RunEvent)
                            ]
                        },
                    },
                    "example": EXAMPLE,
                }
            },
        },
        204: {"description": "The run is over and every event was seen: do not reconnect"},
        **errors.responses(errors.ExecutionNotFound),
    },
)
async def follow_run(
    caller: Reader, execution_id: UUID, last_event_id: LastEventId = 0
) -> Response:
    """Wait for events, send them, and end; a standard client reconnects by itself.

    Events: `step_started`, `step_finished`, and `run_finished`, which is the last.
    """
    found = events.follow(caller, execution_id, last_event_id)
    if found is None:
        return Response(status_code=204)
    body = f"retry: {RETRY_MILLISECONDS}\n\n" + "".join(event.encode() for event in found)
    return Response(body, media_type=MEDIA_TYPE, headers={"Cache-Control": "no-store"})


handler = api.handler(router)
