"""The OpenAPI document with Swagger UI and ReDoc.

The pages load nothing from elsewhere: they work offline and tell no one who reads them. Their
addresses are relative, since a stage may precede them.
"""

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from fastapi import Response

from mini_agent.errors import RouteNotFound

HERE = Path(__file__).parent
OPENAPI = HERE / "openapi.json"
ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "redoc.standalone.js": "text/javascript",
}
_SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; worker-src blob:; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
}


@cache
def openapi() -> Response:
    """Return the OpenAPI document of all rooms, which `make openapi` writes."""
    return Response(minify(OPENAPI.read_bytes()), media_type="application/json")


def minify(document: bytes) -> bytes:
    """Return JSON without white space: half of the readable file."""
    return json.dumps(json.loads(document), ensure_ascii=False, separators=(",", ":")).encode()


def page(name: str) -> Response:
    """Return the page `swagger` or `redoc`."""
    content = (HERE / f"{name}.html").read_bytes()
    return Response(content, media_type="text/html", headers=_SECURITY_HEADERS)


def asset(name: str) -> Response:
    """Return a script or style sheet of the two pages; raises RouteNotFound for any other name."""
    if name not in ASSETS:
        raise RouteNotFound
    package = find_spec("fastapi_offline")  # not imported: only its files are needed
    if package is None or package.origin is None:
        raise RouteNotFound
    content = Path(package.origin).with_name("static").joinpath(name).read_bytes()
    headers = _SECURITY_HEADERS | {"Cache-Control": "public, max-age=86400"}
    return Response(content, media_type=ASSETS[name], headers=headers)
