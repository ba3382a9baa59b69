"""What every request passes before its route: the caller and the rate limit.

It also adds the headers that every response has, errors included.
"""

from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mini_agent.http import exception_handlers, rate_limit
from mini_agent.identity.callers import Caller
from mini_agent.settings import settings
from mini_agent.telemetry import logger

_EXPOSED_HEADERS = (
    "Location, Retry-After, X-Request-Id, X-RateLimit-Limit, X-RateLimit-Remaining,"
    " X-RateLimit-Window, RateLimit, RateLimit-Policy, Idempotency-Replayed, X-Next-Cursor, Link"
)


class AdmissionMiddleware:
    """Sets a request's `caller` and `request_id` in its scope, and counts it against the limit."""

    def __init__(
        self, app: ASGIApp, *, public: bool, requires_limiter: bool, caller_type: type[Caller]
    ) -> None:
        self._app = app
        self._public = public
        self._requires_limiter = requires_limiter
        self._caller_type = caller_type

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, as ASGI asks."""
        scope["request_id"] = request_id(scope["aws.event"])
        scope["path"] = scope["path"].rstrip("/") or "/"  # as API Gateway matches it
        headers = {"X-Request-Id": scope["request_id"]} | _cors_headers()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        app = self._app
        try:
            if not self._public:
                headers |= self._admit(scope)
        except Exception as error:  # noqa: BLE001 - every exception gets a response
            app = exception_handlers.respond(error, scope)
        await app(scope, receive, send_with_headers)

    def _admit(self, scope: Scope) -> dict[str, str]:
        caller = scope["caller"] = self._caller_type.from_event(scope["aws.event"])
        logger.append_keys(tenant_id=str(caller.tenant_id), key_id=str(caller.key_id))
        return rate_limit.admit(caller, required=self._requires_limiter)


def request_id(event: dict[str, Any]) -> str:
    """Return the id that API Gateway gave the request."""
    return str(event.get("requestContext", {}).get("requestId", ""))


def _cors_headers() -> dict[str, str]:
    """Return what lets a browser's page read a response; API Gateway answers preflights itself."""
    origin = settings().cors_origin
    if origin == "none":
        return {}
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": _EXPOSED_HEADERS,
        "Vary": "Origin",
    }
