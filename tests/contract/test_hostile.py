"""Requests that no honest client sends: refused in our shape, and never a fault of ours."""

import json
from collections.abc import Iterator
from http import HTTPStatus
from urllib.parse import urlsplit

import pytest

from tests.contract.client import HttpClient, raw
from tests.contract.conftest import KEY_A, KEY_B, LocalStack
from tests.contract.tenants import add_tenant
from tests.events import Answer, uuid
from tests.integration.client import RUN, TOOL, refused_fields

ID = str(uuid(1))
SIX_MB = 6 * 1024 * 1024
BODIES = ("POST /api/v1/tools", "PUT /api/v1/agents/{id}", "POST /api/v1/agents/{id}/run")


class Hostile:
    """Sends requests byte by byte, with a key of its own."""

    def __init__(self, stack: LocalStack) -> None:
        self.url = stack.url
        self.host = urlsplit(stack.url).netloc
        [self.key] = add_tenant(stack)

    def __call__(
        self,
        line: str,
        body: bytes = b"",
        *headers: str,
        media_type: str = "application/json",
    ) -> Answer:
        """Send a request line such as `GET /health`, a body, and headers on top of the usual."""
        length = (
            ()
            if any("Transfer-Encoding" in h for h in headers)
            else (f"Content-Length: {len(body)}",)
        )
        head = [
            f"{line} HTTP/1.1",
            f"Host: {self.host}",
            *(() if any("X-API-KEY" in h for h in headers) else (f"X-API-KEY: {self.key}",)),
            *((f"Content-Type: {media_type}",) if media_type else ()),
            *length,
            "Connection: close",
            *headers,
        ]
        return raw(self.url, "\r\n".join([*head, "", ""]).encode("latin-1") + body)


@pytest.fixture(scope="module")
def client(local_stack: LocalStack) -> Hostile:
    return Hostile(local_stack)


@pytest.fixture(scope="module")
def honest(local_stack: LocalStack, client: Hostile) -> Iterator[HttpClient]:
    """Another client of the same tenant, who finds at the end that nothing was made."""
    with HttpClient(local_stack.url, client.key) as other:
        yield other
        for path in ("/tools", "/agents", "/history"):
            assert other("GET", path).json["items"] == []


@pytest.fixture(autouse=True)
def unharmed(honest: HttpClient) -> Iterator[None]:
    """Whatever was sent, the next request is served."""
    yield
    assert honest("GET", "/tools").status == 200


def test_a_body_of_6_mb_and_one_byte_is_too_large(client: Hostile) -> None:
    body = b'{"name": "x", "description": "' + b"x" * (SIX_MB - 31) + b'"}'
    assert len(body) == SIX_MB + 1
    refused = client("POST /api/v1/tools", body)
    assert (refused.status, refused.error_code) == (413, "PAYLOAD_TOO_LARGE")
    assert refused.json["details"] == {"limit_bytes": SIX_MB}


def test_a_long_body_that_is_not_too_large_is_read(client: Hostile) -> None:
    body = json.dumps(TOOL | {"description": "x" * 5 * 1024 * 1024}).encode()
    assert refused_fields(client("POST /api/v1/tools", body)) == {"body.description"}


@pytest.mark.parametrize("line", BODIES)
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 10_000 + b"]" * 10_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b'{"name": ' + b"[" * 100_000,
        b'{"name": "a\\u0000b", "description": "\\u0000", "prompt": "\\u0000"}',
        b'{"name": "a\0b"}',
        b'{"name": "\\ud800", "prompt": "\\udfff", "description": "\\ud83d"}',
        b'{"\\ud800": 1}',
        b'{"name": 1e999, "prompt": 1e999}',
        b'{"name": ' + b"9" * 5000 + b"}",
        b'{"name": NaN, "prompt": -Infinity}',
        b'{"name": "one", "name": "two", "prompt": "a", "prompt": 7}',
        b'{"__proto__": {}, "constructor": 1, "__class__": {"__init__": 1}}',
        b"",
        b"\0",
        b"\xff\xfe\xfd",
        b'{"name": "\xff\xfe", "prompt": "\xc3\x28"}',
        b'{"name": "\xed\xa0\x80", "prompt": 1}',
        b"\xef\xbb\xbf[]",
        '{"name": 1}'.encode("utf-16"),
        b"{} {}",
        b"'single'",
        b"{,}",
    ],
    ids=lambda body: ascii(body[:24].decode("latin-1")),
)
def test_a_body_that_defeats_parsers_is_refused(client: Hostile, line: str, body: bytes) -> None:
    refused = client(line.format(id=ID), body)
    assert all(field.startswith("body") for field in refused_fields(refused))


@pytest.mark.parametrize("line", BODIES)
@pytest.mark.parametrize(
    "media_type",
    [
        "",
        "text/plain",
        "application/x-unknown",
        "application/xml",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        ";",
        "application/json, text/html",
        "\xff\xfe",
        "x" * 5000,
    ],
    ids=lambda media_type: ascii(media_type[:30]),
)
def test_an_unknown_content_type_is_refused(client: Hostile, line: str, media_type: str) -> None:
    refused = client(line.format(id=ID), json.dumps(RUN).encode(), media_type=media_type)
    assert (refused.status, refused.error_code) == (415, "UNSUPPORTED_MEDIA_TYPE")


def test_two_content_types_are_one_too_many(client: Hostile) -> None:
    refused = client("POST /api/v1/tools", json.dumps(TOOL).encode(), "Content-Type: text/plain")
    assert (refused.status, refused.error_code) == (415, "UNSUPPORTED_MEDIA_TYPE")


def test_a_charset_that_is_none_changes_nothing(client: Hostile) -> None:
    kind = "application/json; charset=no-such-charset"
    assert refused_fields(client("POST /api/v1/tools", b"{}", media_type=kind))


# ── Headers ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "headers",
    [
        ("X-Long: " + "x" * 1_000_000,),
        ("X-API-KEY: " + "x" * 1_000_000,),
        ("Cookie: " + "x" * 20_000,),
        tuple(f"X-{number}: " + "x" * 100 for number in range(1000)),
    ],
    ids=["1 MB", "1 MB key", "20 KB", "1000 headers"],
)
def test_headers_beyond_all_measure_are_refused(client: Hostile, headers: tuple[str, ...]) -> None:
    refused = client("GET /api/v1/tools", b"", *headers)
    assert 400 <= refused.status < 500


@pytest.mark.parametrize(
    ("first", "second"), [(KEY_A, KEY_A), (KEY_A, KEY_B), (KEY_A, ""), ("", KEY_A), ("x", KEY_A)]
)
def test_a_key_sent_twice_is_no_key(client: Hostile, first: str, second: str) -> None:
    for name in ("X-API-KEY", "x-api-key"):
        refused = client("GET /api/v1/tools", b"", f"X-API-KEY: {first}", f"{name}: {second}")
        assert refused.status == 401
        assert refused.error_code in {"INVALID_API_KEY", "MISSING_API_KEY"}


@pytest.mark.parametrize(
    "key", ["\xff\xfe", "map_live_\xe9", "' or true--", "{}", "*", "x" * 5000, "\t", "a,b", '"']
)
def test_a_key_of_any_other_kind_is_refused(client: Hostile, key: str) -> None:
    assert client("GET /api/v1/tools", b"", f"X-API-KEY: {key}").status == 401


@pytest.mark.parametrize(
    "header",
    [
        "X-Forwarded-Port: abc",
        "X-Forwarded-Proto: javascript",
        "X-Forwarded-For: ' or true--",
        "X-Forwarded-Host: evil.example",
        "X-Amzn-Trace-Id: Root=x;y",
        "Accept: \xff",
        "Accept-Encoding: x",
        "Expect: 100-continue",
        "Range: bytes=0-1",
        "If-None-Match: *",
        "Authorization: Bearer x",
        "Cookie: a=b; a=c; =;",
        "X-HTTP-Method-Override: DELETE",
        "Upgrade: websocket",
        "Upgrade: h2c",
        "TE: trailers",
        "X-Request-Id: mine",
    ],
)
def test_a_header_that_is_none_of_our_business_changes_nothing(
    client: Hostile, header: str
) -> None:
    answer = client("GET /api/v1/tools", b"", header)
    assert answer.status == 200
    assert answer.headers["x-request-id"] != "mine"


@pytest.mark.parametrize("port", ["443", "abc", "443, 443"])
@pytest.mark.parametrize("host", ["h", "[::1]:8000", "a:b:c", "x:y", "", "evil.example:99999999"])
def test_whatever_host_and_port_a_request_was_meant_for_it_is_served(
    local_stack: LocalStack, client: Hostile, host: str, port: str
) -> None:
    head = f"Host: {host}\r\nX-Forwarded-Port: {port}\r\nX-API-KEY: {client.key}\r\n\r\n"
    asked = f"GET /api/v1/tools HTTP/1.1\r\nConnection: close\r\n{head}"
    assert raw(local_stack.url, asked.encode()).status == 200


# ── Paths and queries ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("room", ["tools", "agents", "history"])
@pytest.mark.parametrize(
    "id_",
    [
        "../../x",
        "..%2F..%2Fx",
        "%2e%2e%2f%2e%2e%2fx",
        "..%252F..%252Fx",
        "..\\..\\x",
        "%00",
        f"{ID}%00",
        f"{ID}%2F",
        "%ff%fe",
        "%",
        "%zz",
        "%ED%A0%80",
        ";",
        "*",
        "{id}",
        "null",
        "0",
        "-1",
        "x" * 5000,
        "'%20or%20true--",
        "%F0%9F%A4%96",
    ],
    ids=lambda id_: id_[:30],
)
def test_an_id_that_is_none_is_refused(client: Hostile, room: str, id_: str) -> None:
    for method in ("GET", "DELETE"):
        refused = client(f"{method} /api/v1/{room}/{id_}")
        assert refused.status in {404, 405, 422}


@pytest.mark.parametrize("room", ["tools", "agents", "history"])
@pytest.mark.parametrize(
    "query",
    [
        "limit=abc",
        "limit=1e999",
        "limit=" + "9" * 5000,
        "limit=%00",
        "limit=NaN",
        "limit=1&limit=x",
        "cursor=%00",
        "cursor=%ff",
        "cursor=" + "A" * 8000,
        "offset=-0.5",
        "%00=%00",
        "a[]=1&a[0]=2",
        "__proto__=1",
        "%ff=%fe",
        "x=" + "y" * 9000,
        "?limit=1",
        "=",
    ],
    ids=lambda query: query[:20],
)
def test_a_query_that_no_list_takes_is_refused(client: Hostile, room: str, query: str) -> None:
    assert all(
        field.startswith("query") for field in refused_fields(client(f"GET /api/v1/{room}?{query}"))
    )


@pytest.mark.parametrize("query", ["limit=5&limit=1", "&&&", "limit=1#x", "include_total=1"])
@pytest.mark.parametrize("room", ["tools", "agents", "history"])
def test_an_odd_query_that_says_nothing_wrong_is_served(
    client: Hostile, room: str, query: str
) -> None:
    assert client(f"GET /api/v1/{room}?{query}").status in {200, 422}


def test_a_query_beyond_all_measure_is_refused(client: Hostile) -> None:
    for length in (20_000, 100_000):
        assert refused_fields(client("GET /api/v1/tools?name=" + "x" * length))


@pytest.mark.parametrize(
    "path",
    [
        "/..%2f..%2fetc%2fpasswd",
        "/docs/..%2fapp.py",
        "/docs/%2e%2e/app.py",
        "/docs/../app.py",
        "/docs/%00",
        "//api/v1/tools",
        "/api/v1//tools",
        "/API/V1/TOOLS",
        "/api/v1/tools;x=1",
        "/api/v1/tools%20",
        "/api/v1/tools%2f",
        "/api/v1/tools/.",
        "/%",
        "/\xff",
        "/" + "x" * 9000,
    ],
    ids=lambda path: ascii(path[:30]),
)
def test_a_path_that_is_none_is_refused(client: Hostile, path: str) -> None:
    refused = client(f"GET {path}")
    assert 400 <= refused.status < 500


# ── Methods and bodies where none belong ─────────────────────────────────────────────────────────

PATHS = ("/health", "/docs", "/api/v1/tools", f"/api/v1/agents/{ID}", f"/api/v1/agents/{ID}/run")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["OPTIONS", "PATCH", "TRACE", "PROPFIND", "CONNECT", "X"])
def test_a_method_that_is_none_of_ours_is_refused(client: Hostile, method: str, path: str) -> None:
    assert 400 <= client(f"{method} {path}").status < 500


@pytest.mark.parametrize("path", PATHS)
def test_head_is_refused_without_a_body(honest: HttpClient, path: str) -> None:
    answer = honest.http.head(path)
    assert (answer.status_code, answer.text) == (405, "")
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("body", [b"{}", b"[" * 10_000, b"\xff\0", b"x" * 100_000])
def test_a_body_where_none_belongs_is_not_looked_at(client: Hostile, body: bytes) -> None:
    for media_type in ("application/json", "text/plain"):
        assert client("GET /api/v1/tools", body, media_type=media_type).status == 200
        gone = client(f"DELETE /api/v1/tools/{ID}", body, media_type=media_type)
        assert gone.status == HTTPStatus.NOT_FOUND


# ── The transport ────────────────────────────────────────────────────────────────────────────────

CHUNKED = "Transfer-Encoding: chunked"


def chunks(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (*parts, b""))


def test_a_body_in_chunks_is_read_as_one(client: Hostile) -> None:
    refused = client(
        "POST /api/v1/tools", chunks(b'{"na', b'me": 7, "descr', b'iption": "x"}'), CHUNKED
    )
    assert refused_fields(refused) == {"body.name"}


def test_a_body_in_chunks_is_measured(client: Hostile) -> None:
    refused = client("POST /api/v1/tools", chunks(*[b"x" * 1024 * 1024] * 7), CHUNKED)
    assert (refused.status, refused.error_code) == (413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /health HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /api/v1/tools HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET  /api/v1/tools HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /api/v1/tools\r\n\r\n",
        b"GET /health HTTP/1.1\r\nX-\0: 1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\n X: folded\r\nY\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
    ],
    ids=lambda request: ascii(request[:60].decode("latin-1")),
)
def test_what_is_no_http_is_refused(local_stack: LocalStack, request_: bytes) -> None:
    assert 400 <= raw(local_stack.url, request_).status < 500
