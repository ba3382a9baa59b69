"""A room as a Lambda handler: its router, the check of scopes, and FastAPI behind Mangum.

Routes are `async def` and call psycopg and redis synchronously: a sandbox serves one event at a
time, so nothing else waits, and FastAPI's thread pool for `def` would cost ten times as much as the
rest of it. In a server that interleaves requests this would be wrong
(`docs/decisions/0006-async-def-with-synchronous-calls.md`).
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
from starlette.exceptions import HTTPException
from starlette.routing import Match

from mini_agent import errors
from mini_agent.http import idempotency
from mini_agent.http.exception_handlers import respond
from mini_agent.http.middleware import AdmissionMiddleware, request_id
from mini_agent.identity.callers import Caller
from mini_agent.telemetry import count, logger, metrics

Handler = Callable[[dict[str, Any], LambdaContext], dict[str, Any]]

NDJSON = "application/x-ndjson"
_ADDRESS_HEADERS = {"host", "x-forwarded-port"}


class _Authorization(SecurityBase):
    """The dependency of a route on its caller, which also documents the API key.

    One dependency, not two: FastAPI spends 15 µs a request on each.
    """

    def __init__(self) -> None:
        self.scheme_name = "ApiKey"
        self.model = APIKey.model_validate(
            {"in": APIKeyIn.header, "name": "X-API-KEY", "description": "A key of your tenant"}
        )

    async def __call__(self, request: Request, required: SecurityScopes) -> Caller:
        """Return the caller; raises InsufficientScope if the key lacks a scope of the route."""
        caller: Caller = request.scope["caller"]
        for scope in required.scopes:
            if scope not in caller.scopes:
                raise errors.InsufficientScope(required_scope=scope)
        return caller


authorize = _Authorization()


class _Route(APIRoute):
    """A route that takes only JSON bodies, and answers every exception in one shape.

    A POST with an `Idempotency-Key` takes effect once.
    """

    is_one_transaction = True
    """Whether a request's effect is one transaction, which its key is stored in."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_safely(request: Request) -> Response:
            try:
                if self.body_field and not await _is_json(request):
                    raise errors.UnsupportedMediaType
                key = await self._idempotency_key(request)
                if key is None:
                    return await handle(request)
                # The scope is checked here too: `handle` is not called for a stored response.
                caller = await authorize(request, self._required_scopes())
                return await idempotency.once(caller, key, lambda: handle(request))
            except Exception as error:  # noqa: BLE001 - every exception gets a response
                return respond(error, request.scope)

        return handle_safely

    async def _idempotency_key(self, request: Request) -> idempotency.IdempotencyKey | None:
        if self.is_one_transaction and request.method == "POST":
            return await idempotency.key(request)
        return None

    def _required_scopes(self) -> SecurityScopes:
        dependencies = self.dependant.dependencies
        return SecurityScopes([s for d in dependencies for s in d.own_oauth_scopes or ()])


class _RouteWithOwnTransactions(_Route):
    is_one_transaction = False


async def _is_json(request: Request) -> bool:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type == "application/json" or not await request.body()


def router(
    prefix: str = "", *, public: bool = False, own_transactions: bool = False, **options: Any
) -> APIRouter:
    """Return a room's router, whose routes document the errors that any of them may answer.

    Routes with `own_transactions` handle `Idempotency-Key` themselves.
    """
    documented = [errors.MethodNotAllowed, errors.InternalServerError]
    if not public:
        documented += [
            errors.MissingApiKey,
            errors.InvalidApiKey,
            errors.InsufficientScope,
            errors.PayloadTooLarge,
            errors.ValidationFailed,
            errors.RateLimitExceeded,
            errors.ServiceUnavailable,
            errors.DeadlineExceeded,
        ]
    return APIRouter(
        prefix=prefix,
        route_class=_RouteWithOwnTransactions if own_transactions else _Route,
        redirect_slashes=False,
        responses=errors.responses(*documented),
        **options,
    )


def handler(
    router: APIRouter,
    *,
    public: bool = False,
    requires_limiter: bool = False,
    caller_type: type[Caller] = Caller,
) -> Handler:
    """Return the Lambda handler of a room.

    A `public` room has no callers. A room that spends money `requires_limiter`: while Redis is
    away it answers 503. Every transaction is entered as a `caller_type`.
    """
    # The routes themselves: FastAPI would match an included router twice.
    app = FastAPI(
        routes=router.routes,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.add_exception_handler(HTTPException, partial(_respond_unrouted, router))
    _set_event_loop()
    adapter = Mangum(
        AdmissionMiddleware(
            app, public=public, requires_limiter=requires_limiter, caller_type=caller_type
        ),
        lifespan="off",
        text_mime_types=[*DEFAULT_TEXT_MIME_TYPES, NDJSON],  # all else goes as base64
    )

    @logger.inject_lambda_context(clear_state=True)
    @metrics.log_metrics
    def handle(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        logger.append_keys(request_id=request_id(event))
        count("Requests")
        return adapter(_without_address_headers(event), context)

    return cast("Handler", handle)


@cache
def _set_event_loop() -> None:
    """Make the loop that Mangum runs requests in: since Python 3.12 there is none by default."""
    asyncio.set_event_loop(asyncio.new_event_loop())


def _without_address_headers(event: dict[str, Any]) -> dict[str, Any]:
    """Return the event without the headers that say where it was sent.

    Nothing here needs them, and Mangum fails on what it does not expect in them, such as IPv6.
    """
    kept = {
        name: {
            header: value
            for header, value in (event.get(name) or {}).items()
            if header.lower() not in _ADDRESS_HEADERS
        }
        for name in ("headers", "multiValueHeaders")
    }
    return event | kept


async def _respond_unrouted(router: APIRouter, request: Request, error: Exception) -> Response:
    response = respond(error, request.scope)
    if response.status_code == errors.MethodNotAllowed.status:
        response.headers["Allow"] = ", ".join(sorted(_allowed_methods(router, request)))
    return response


def _allowed_methods(router: APIRouter, request: Request) -> set[str]:
    """Return the methods of a path, over all routes; Starlette knows only one route's."""
    return {
        method
        for route in router.routes
        if isinstance(route, APIRoute) and route.matches(request.scope)[0] is not Match.NONE
        for method in route.methods or ()
    }


def path(request: Request) -> str:
    """Return the path of a request as the client sees it, stage included."""
    return str(request.scope["aws.event"]["requestContext"]["path"]).rstrip("/")


def location(request: Request, item_id: object) -> str:
    """Return the path of a new item as the client sees it."""
    return f"{path(request)}/{item_id}"
