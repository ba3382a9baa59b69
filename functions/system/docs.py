"""Swagger UI and ReDoc, served from here, so that they work offline and tell no one else."""

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from fastapi import Response
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse

from mini_agent.errors import RouteNotFound

TITLE = "Mini Agent Platform"
OPENAPI = Path(__file__).with_name("openapi.json")
ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "redoc.standalone.js": "text/javascript",
}
_SAFE = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; worker-src blob:; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
}
_NO_ICON = "data:,"


def swagger() -> Response:
    """Return the Swagger UI page; its addresses are relative, so that a stage may precede them."""
    return _page(
        get_swagger_ui_html(
            title=TITLE,
            openapi_url="openapi.json",
            swagger_js_url="docs/swagger-ui-bundle.js",
            swagger_css_url="docs/swagger-ui.css",
            swagger_favicon_url=_NO_ICON,
            swagger_ui_parameters={"persistAuthorization": True, "tryItOutEnabled": True},
        )
    )


def redoc() -> Response:
    """Return the ReDoc page."""
    return _page(
        get_redoc_html(
            title=TITLE,
            openapi_url="openapi.json",
            redoc_js_url="docs/redoc.standalone.js",
            redoc_favicon_url=_NO_ICON,
            with_google_fonts=False,
        )
    )


@cache
def openapi() -> Response:
    """Return the OpenAPI document of all rooms, which `make openapi` writes."""
    return Response(minify(OPENAPI.read_bytes()), media_type="application/json")


def minify(document: bytes) -> bytes:
    """Return JSON without white space: half of the readable file."""
    return json.dumps(json.loads(document), ensure_ascii=False, separators=(",", ":")).encode()


def asset(name: str) -> Response:
    """Return a script or style sheet of the two pages; raises RouteNotFound for any other name."""
    if name not in ASSETS:
        raise RouteNotFound
    package = find_spec("fastapi_offline")  # found, not imported: only its files are wanted
    if package is None or package.origin is None:
        raise RouteNotFound
    content = Path(package.origin).with_name("static").joinpath(name).read_bytes()
    return Response(
        content, media_type=ASSETS[name], headers=_SAFE | {"Cache-Control": "public, max-age=86400"}
    )


def _page(page: HTMLResponse) -> Response:
    page.headers.update(_SAFE)
    return page
