"""From any exception, FastAPI's own included, to the one shape of error response."""

import json
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import Scope

from mini_agent import errors
from mini_agent.identity import audit
from mini_agent.telemetry import logger


def respond(error: Exception, scope: Scope) -> JSONResponse:
    """Return the response to an exception; log it if unexpected, and record what is forbidden."""
    api_error = translate(error, scope["request_id"])
    if isinstance(api_error, errors.InternalServerError):
        logger.exception("unexpected error", exc_info=error)
    if isinstance(api_error, errors.AuthorizationError):
        audit.record_refusal(scope["caller"], api_error, f"{scope['method']} {scope['route'].path}")
    return render(api_error)


def translate(error: Exception, request_id: str) -> errors.ApiError:
    """Return what the client sees of an exception; an unexpected one shows only the request id."""
    match error:
        case errors.ApiError():
            return error
        case RequestValidationError():
            return errors.ValidationFailed(errors=[_field_error(e) for e in error.errors()])
        case HTTPException(status_code=HTTPStatus.NOT_FOUND):
            return errors.RouteNotFound()
        case HTTPException(status_code=HTTPStatus.METHOD_NOT_ALLOWED):
            return errors.MethodNotAllowed()
        case HTTPException(status_code=HTTPStatus.BAD_REQUEST):  # a body that defeats the parser
            return errors.ValidationFailed.of("body", str(error.detail), "json_invalid")
        case _:
            return errors.InternalServerError(request_id=request_id)


def _field_error(error: dict[str, Any]) -> dict[str, str]:
    return {
        "field": ".".join(_encodable(str(part)) for part in error["loc"]),
        "message": _encodable(error["msg"]),
        "type": error["type"],
    }


def _encodable(text: str) -> str:
    """Replace what UTF-8 cannot hold: names in the request's own JSON may contain it."""
    return text.encode("utf-8", "replace").decode("utf-8")


def render(error: errors.ApiError) -> JSONResponse:
    """Return the response for an error."""
    body = {"error_code": error.error_code, "message": error.message, "details": error.details}
    headers = dict(error.headers)
    if error.retry_after:
        headers["Retry-After"] = str(error.retry_after)
    # Through json, since details hold UUIDs.
    return JSONResponse(json.loads(json.dumps(body, default=str)), error.status, headers)
