"""HTTP calls through the egress guard: TLS, redirects, and limits of size and time."""

import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from functions.runs.tools import egress
from functions.runs.tools.egress import EgressFailed, EgressRefused, Reply
from tests.integration.calling import get
from tests.integration.web import PUBLIC, Network, Web, reply
from tests.waiting import Stopwatch

pytestmark = pytest.mark.usefixtures("network")


# ── What is asked ───────────────────────────────────────────────────────────────────────────────
def test_a_public_host_is_asked_over_tls_by_its_name(network: Network, public: Web) -> None:
    names: list[str] = []
    context = public.tls
    assert context
    context.sni_callback = lambda _, name, __: names.append(name)
    public.answers = lambda _: reply("found", 404, Content_Type="application/json")
    asked = {"headers": {"X-A": "b"}, "body": b"{}"}
    got = egress.fetch("POST", "https://LOCALHOST./a%20b?c=d#e", **asked, seconds=5)  # type: ignore[arg-type]  # the names are right
    assert got == Reply(404, "application/json", b"found")
    [seen] = public.seen
    assert (seen.method, seen.path, seen.body) == ("POST", "/a%20b?c=d", b"{}")
    assert seen.headers["x-a"] == "b"
    assert names == ["localhost"]


def test_a_certificate_for_another_name_or_of_nobody_known_gets_no_request(
    network: Network, public: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    network.names["other.example"] = [[PUBLIC]]
    with pytest.raises(EgressFailed, match="certificate"):
        get("https://other.example/")
    monkeypatch.delenv("SSL_CERT_FILE")
    egress._tls_context.cache_clear()
    with pytest.raises(EgressFailed, match="certificate"):
        get("https://localhost/")
    assert public.seen == []


def test_an_address_that_takes_no_connection_leaves_it_to_the_next(
    network: Network, public: Web
) -> None:
    network.names["localhost"] = [["2600::1", "93.184.216.35", PUBLIC]]
    assert get("https://localhost/").body == b"hello"
    assert [address for address, _ in network.connected][-2:] == ["93.184.216.35", PUBLIC]


@pytest.mark.parametrize("names", [{}, {"gone.example": [[PUBLIC]]}], ids=["unknown", "closed"])
def test_a_host_that_is_away_is_a_failure(
    network: Network, names: dict[str, list[list[str]]]
) -> None:
    network.names = names
    with pytest.raises(EgressFailed):
        get("https://gone.example/")


def test_proxies_of_the_environment_are_not_asked(
    network: Network, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    assert get(web.url, plain=True).body == b"hello"
    assert network.connected == [("127.0.0.1", web.port)]


# ── Redirects ───────────────────────────────────────────────────────────────────────────────────
def test_three_redirects_are_followed_and_a_fourth_refused(web: Web) -> None:
    web.answers = lambda seen: (
        reply("there")
        if seen.path == "/0"
        else reply(status=302, Location=f"/{int(seen.path[1:]) - 1}")
    )
    assert get(f"{web.url}/3", plain=True).body == b"there"
    web.seen.clear()
    with pytest.raises(EgressRefused, match="redirects"):
        get(f"{web.url}/4", plain=True)
    assert [seen.path for seen in web.seen] == ["/4", "/3", "/2", "/1"]


def test_only_a_get_follows_redirects(web: Web) -> None:
    web.answers = lambda _: reply("moved", 307, Location="/elsewhere")
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        got = egress.fetch(method, web.url, headers={}, body=None, seconds=5, plain=True)
        assert (got.status, got.body) == (307, b"moved")
    assert {seen.path for seen in web.seen} == {"/"}


def test_headers_go_no_further_than_the_origin_they_were_for(network: Network, web: Web) -> None:
    secret = {"Authorization": "Bearer canary"}
    with Web() as other:
        network.names["there.example"] = [["127.0.0.1"]]
        for location, last in (
            ("/here", web),
            (f"{other.url}/", other),
            (f"http://there.example:{web.port}/there", web),
        ):
            web.answers = lambda seen, to=location: (  # type: ignore[misc]  # mypy knows no defaults here
                reply(status=302, Location=to) if seen.path == "/" else reply("there")
            )
            assert get(f"{web.url}/", headers=secret, plain=True).status == 200
            kept = last.seen[-1].headers.get("authorization")
            assert kept == ("Bearer canary" if location == "/here" else None)


# ── Caps ────────────────────────────────────────────────────────────────────────────────────────
def test_an_answer_may_be_as_large_as_the_cap_and_no_larger(web: Web) -> None:
    web.answers = lambda _: reply(b"x" * 1000)
    assert len(get(web.url, plain=True, max_bytes=1000).body) == 1000
    with pytest.raises(EgressFailed, match="larger than 999"):
        get(web.url, plain=True, max_bytes=999)


def endless(head: bytes, chunk: bytes) -> Iterator[bytes]:
    yield head
    while True:
        yield chunk


ENDLESS = {
    "body": (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536),
    "chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"8000\r\n" + b"x" * 0x8000 + b"\r\n",
    ),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
    "header": (b"HTTP/1.1 200 OK\r\nX-A: ", b"x" * 65536),
    "status": (b"", b"x" * 65536),
    "continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize(("head", "chunk"), ENDLESS.values(), ids=ENDLESS)
def test_an_endless_answer_is_hung_up_on(web: Web, head: bytes, chunk: bytes) -> None:
    web.answers = lambda _: endless(head, chunk)
    with pytest.raises(EgressFailed):
        get(web.url, plain=True, seconds=1)
    assert web.hung_up.wait(5)


DRIPS = {
    "head": b"HTTP/1.1 200 OK\r\nX-A: " + b"x" * 1000,
    "body": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000,
    "body without a length": b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1000,
    "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n800\r\n" + b"x" * 1000,
}


@pytest.mark.parametrize("secured", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("data", DRIPS.values(), ids=DRIPS)
def test_an_answer_that_drips_in_ends_at_the_deadline(
    web: Web, public: Web, data: bytes, secured: bool
) -> None:
    server, url = (public, "https://localhost/") if secured else (web, web.url)
    start = data.index(b"x" * 1000) if b"\r\n\r\n" in data else 20

    def drip(_: object) -> Iterator[bytes]:
        yield data[:start]
        yield from server.dripping([data[start:]])

    server.answers = drip
    with Stopwatch() as watch, pytest.raises(EgressFailed, match="in time"):
        get(url, plain=not secured, seconds=0.4)
    assert watch.elapsed > 0.35
    assert watch.seconds < 1


def test_a_host_that_says_nothing_is_given_up_at_the_deadline(web: Web) -> None:
    def silent(_: object) -> Iterator[bytes]:
        web.closing.wait(5)
        yield b""

    web.answers = silent
    with Stopwatch() as watch:
        with pytest.raises(EgressFailed, match="in time"):
            get(web.url, plain=True, seconds=0.3)
        with (
            socket.create_server(("127.0.0.1", 0)) as mute,
            pytest.raises(EgressFailed, match="in time"),
        ):
            get(f"https://127.0.0.1:{mute.getsockname()[1]}/", plain=True, seconds=0.3)
    assert watch.seconds < 1.5


def test_a_name_server_that_says_nothing_is_given_up_at_the_deadline(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    def hang(*_: object, **__: object) -> list[Any]:
        over.wait(5)
        return []

    monkeypatch.setattr("socket.getaddrinfo", hang)
    with Stopwatch() as watch, pytest.raises(EgressFailed, match="in time"):
        get("https://public.example/", seconds=0.3)
    over.set()
    assert watch.seconds < 1


def test_redirects_share_one_deadline(web: Web) -> None:
    def slow(_: object) -> Iterator[bytes]:
        web.closing.wait(0.25)
        yield from reply(status=302, Location="/")

    web.answers = slow
    with Stopwatch() as watch, pytest.raises(EgressFailed, match="in time"):
        get(web.url, plain=True, seconds=0.6)
    assert watch.seconds < 1


BROKEN = {
    "nothing": b"",
    "no HTTP": b"SSH-2.0-OpenSSH\r\n",
    "status": b"HTTP/1.1 two OK\r\n\r\n",
    "short body": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
    "short chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf",
    "bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nhalf",
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_a_broken_answer_is_a_failure_and_no_half_answer(web: Web, data: bytes) -> None:
    web.answers = lambda _: [data]
    with pytest.raises(EgressFailed):
        get(web.url, plain=True)


def test_a_header_that_would_be_two_is_not_sent(web: Web) -> None:
    with pytest.raises(EgressFailed):
        get(web.url, plain=True, headers={"X-A": "b\r\nX-C: d"})
    assert web.seen == []


def test_no_thread_and_no_connection_is_left_behind(network: Network, public: Web) -> None:
    get("https://localhost/")
    own = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    for timer in own:
        timer.join(1)
    assert not [timer for timer in own if timer.is_alive()]
    assert isinstance(egress._tls_context(), ssl.SSLContext)
