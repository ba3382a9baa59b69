"""Health, readiness and the documentation: the routes that need no API key."""

from fastapi import Response

from functions.system import docs, service
from functions.system.models import Health, Readiness
from mini_agent import errors
from mini_agent.http import api

router = api.router(public=True, tags=["System"])


@router.get("/health", summary="Health check")
async def health() -> Health:
    """Say that the function runs; nothing else is asked."""
    return Health()


@router.get(
    "/ready",
    summary="Readiness check",
    responses=errors.responses(errors.ServiceUnavailable),
)
async def ready() -> Readiness:
    """Say whether the database and the rate limiter answer, and how fast."""
    return service.readiness()


@router.get("/openapi.json", include_in_schema=False)
async def openapi() -> Response:
    """Serve the OpenAPI document."""
    return docs.openapi()


@router.get("/docs", include_in_schema=False)
async def swagger() -> Response:
    """Serve Swagger UI."""
    return docs.page("swagger")


@router.get("/docs/{name}", include_in_schema=False)
async def asset(name: str) -> Response:
    """Serve a script or style sheet of the two pages."""
    return docs.asset(name)


@router.get("/redoc", include_in_schema=False)
async def redoc() -> Response:
    """Serve ReDoc."""
    return docs.page("redoc")


handler = api.handler(router, public=True)
