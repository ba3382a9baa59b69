"""What a client sees of any exception, FastAPI's own included."""

import json
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from mini_agent import errors


def translate(error: Exception, request_id: str) -> errors.ApiError:
    """Return what the client sees of any exception; one of unknown kind tells nothing of itself."""
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
        "field": ".".join(_printable(str(part)) for part in error["loc"]),
        "message": _printable(error["msg"]),
        "type": error["type"],
    }


def _printable(text: str) -> str:
    """Names from the request's own JSON may hold what UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")


def render(error: errors.ApiError) -> JSONResponse:
    """Return the answer for an error."""
    body = {"error_code": error.error_code, "message": error.message, "details": error.details}
    headers = dict(error.headers)
    if error.retry_after:
        headers["Retry-After"] = str(error.retry_after)
    # Through json, since details hold UUIDs.
    return JSONResponse(json.loads(json.dumps(body, default=str)), error.status, headers)
