"""How a room becomes a Lambda handler: FastAPI behind Mangum, with one gate before it.

Routes are `async def` and call psycopg and redis synchronously: a sandbox serves one event at a
time, so nothing else waits, and the thread pool that FastAPI keeps for `def` would cost ten times
as much as the rest of it. In a server that interleaves requests this would be wrong.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import cache, partial
from typing import Any, cast

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.models import APIKey, APIKeyIn
from fastapi.routing import APIRoute
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase
from mangum import Mangum
from mangum.adapter import DEFAULT_TEXT_MIME_TYPES
from mangum.types import LambdaContext
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mini_agent import errors
from mini_agent.http import exception_handlers, idempotency, rate_limit
from mini_agent.identity import audit
from mini_agent.identity.callers import Caller
from mini_agent.settings import settings
from mini_agent.telemetry import count, logger, metrics

Handler = Callable[[dict[str, Any], LambdaContext], dict[str, Any]]

_ADDRESS = {"host", "x-forwarded-port"}
_EXPOSED = (
    "Location, Retry-After, X-Request-Id, X-RateLimit-Limit, X-RateLimit-Remaining,"
    " X-RateLimit-Window, RateLimit, RateLimit-Policy, Idempotency-Replayed, X-Next-Cursor, Link"
)
NDJSON = "application/x-ndjson"


class _Authorize(SecurityBase):
    """The caller of a route, and at once what the document says of its key.

    One dependency, not two: FastAPI spends 15 µs a request on each.
    """

    def __init__(self) -> None:
        self.scheme_name = "ApiKey"
        self.model = APIKey.model_validate(
            {"in": APIKeyIn.header, "name": "X-API-KEY", "description": "A key of your tenant"}
        )

    async def __call__(self, request: Request, needed: SecurityScopes) -> Caller:
        """Return the caller; raises InsufficientScope if the key lacks a scope of the route."""
        caller: Caller = request.scope["caller"]
        for scope in needed.scopes:
            if scope not in caller.scopes:
                raise errors.InsufficientScope(required_scope=scope)
        return caller


authorize = _Authorize()


class _Route(APIRoute):
    """A route that takes JSON bodies only, and whose every failure is answered in one shape.

    A POST with an `Idempotency-Key` has its effect once.
    """

    joins = True
    """Whether all that a request does is one transaction, which its key can be stored in."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                if self.body_field and not await _is_json(request):
                    raise errors.UnsupportedMediaType
                key = await self._key(request)
                if key is None:
                    return await handle(request)
                # Before the stored answer is told: the handler's own check comes after it.
                caller = await authorize(request, self._needed())
                return await idempotency.once(caller, key, lambda: handle(request))
            except Exception as error:  # noqa: BLE001 - every failure is answered
                return _answer(error, request.scope)

        return guarded

    async def _key(self, request: Request) -> idempotency.IdempotencyKey | None:
        if self.joins and request.method == "POST":
            return await idempotency.key(request)
        return None

    def _needed(self) -> SecurityScopes:
        depended = self.dependant.dependencies
        return SecurityScopes([s for d in depended for s in d.own_oauth_scopes or ()])


class _ApartRoute(_Route):
    joins = False


async def _is_json(request: Request) -> bool:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type == "application/json" or not await request.body()


def router(
    prefix: str = "", *, public: bool = False, joins: bool = True, **options: Any
) -> APIRouter:
    """Return a router whose routes document what any of them may answer.

    Where none `joins`, they keep their own transactions and see to `Idempotency-Key` themselves.
    """
    anyone = (errors.MethodNotAllowed, errors.InternalServerError)
    callers = (
        errors.MissingApiKey,
        errors.InvalidApiKey,
        errors.InsufficientScope,
        errors.PayloadTooLarge,
        errors.ValidationFailed,
        errors.RateLimitExceeded,
        errors.ServiceUnavailable,
        errors.DeadlineExceeded,
    )
    return APIRouter(
        prefix=prefix,
        route_class=_Route if joins else _ApartRoute,
        redirect_slashes=False,
        responses=errors.responses(*anyone, *(() if public else callers)),
        **options,
    )


def handler(
    routes: APIRouter,
    *,
    public: bool = False,
    spends: bool = False,
    callers: type[Caller] = Caller,
) -> Handler:
    """Return the Lambda handler of one room.

    `public` rooms ask for no caller; rooms that `spend` money refuse to run without the limiter.
    Every transaction of a room is entered as its `callers` are.
    """
    # The routes themselves: an included router is matched twice.
    app = FastAPI(
        routes=routes.routes,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.add_exception_handler(HTTPException, partial(_unrouted, routes))
    _make_event_loop()
    adapter = Mangum(
        _Gate(app, public=public, spends=spends, callers=callers),
        lifespan="off",
        text_mime_types=[*DEFAULT_TEXT_MIME_TYPES, NDJSON],  # all else goes as base64
    )

    @logger.inject_lambda_context(clear_state=True)
    @metrics.log_metrics
    def handle(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        logger.append_keys(request_id=_request_id(event))
        count("Requests")
        return adapter(_without_address(event), context)

    return cast("Handler", handle)


@cache
def _make_event_loop() -> None:
    """Make the loop that Mangum runs requests in; Python 3.12 and later give none unasked."""
    asyncio.set_event_loop(asyncio.new_event_loop())


def _without_address(event: dict[str, Any]) -> dict[str, Any]:
    """Return the event without the headers that tell where it was sent.

    Nothing here asks for them, and Mangum fails on what it does not expect, IPv6 for one.
    """
    kept = {
        name: {n: v for n, v in (event.get(name) or {}).items() if n.lower() not in _ADDRESS}
        for name in ("headers", "multiValueHeaders")
    }
    return event | kept


class _Gate:
    """What comes before routing (caller, limit) and what goes on every answer (headers)."""

    def __init__(self, app: ASGIApp, *, public: bool, spends: bool, callers: type[Caller]) -> None:
        self.app, self.public, self.spends, self.callers = app, public, spends, callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {"X-Request-Id": _request_id(scope["aws.event"])} | _cors()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        app = self.app
        scope["path"] = scope["path"].rstrip("/") or "/"  # as API Gateway matches it
        try:
            if not self.public:
                headers |= self._admit(scope)
        except Exception as error:  # noqa: BLE001 - every failure is answered
            app = _answer(error, scope)
        await app(scope, receive, send_with_headers)

    def _admit(self, scope: Scope) -> dict[str, str]:
        caller = scope["caller"] = self.callers.from_event(scope["aws.event"])
        logger.append_keys(tenant_id=str(caller.tenant_id), key_id=str(caller.key_id))
        return rate_limit.admit(caller, required=self.spends)


def _cors() -> dict[str, str]:
    """Return what lets a browser's page read an answer; API Gateway answers its question before."""
    origin = settings().cors_origin
    if origin == "none":
        return {}
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": _EXPOSED,
        "Vary": "Origin",
    }


async def _unrouted(routes: APIRouter, request: Request, error: Exception) -> Response:
    answer = _answer(error, request.scope)
    if answer.status_code == errors.MethodNotAllowed.status:
        answer.headers["Allow"] = ", ".join(sorted(_methods(routes, request)))
    return answer


def _methods(routes: APIRouter, request: Request) -> set[str]:
    """Return the methods of a path; Starlette tells those of one route alone."""
    return {
        method
        for route in routes.routes
        if isinstance(route, APIRoute) and route.matches(request.scope)[0] is not Match.NONE
        for method in route.methods or ()
    }


def _answer(error: Exception, scope: Scope) -> Response:
    refusal = exception_handlers.translate(error, _request_id(scope["aws.event"]))
    if isinstance(refusal, errors.InternalServerError):
        logger.exception("unexpected error", exc_info=error)
    if isinstance(refusal, audit.NOTED):
        audit.note_refusal(scope["caller"], refusal, f"{scope['method']} {scope['route'].path}")
    return exception_handlers.render(refusal)


def _request_id(event: dict[str, Any]) -> str:
    return str(event.get("requestContext", {}).get("requestId", ""))


def path(request: Request) -> str:
    """Return the path of a request as the client sees it, stage included."""
    return str(request.scope["aws.event"]["requestContext"]["path"]).rstrip("/")


def location(request: Request, item_id: object) -> str:
    """Return the path of a new item as the client sees it."""
    return f"{path(request)}/{item_id}"
