"""The way out, watched at the socket: what is refused is never connected to."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from functions.runs.tools import egress
from functions.runs.tools.egress import EgressFailed, EgressRefused, Reply
from tests.integration.web import PUBLIC, Network, Web, reply, watched
from tests.tls import Authority

HIDDEN = {
    "loopback": "127.0.0.1",
    "end of loopback": "127.255.255.254",
    "unspecified": "0.0.0.0",
    "this network": "0.1.2.3",
    "ten": "10.0.0.1",
    "one seven two": "172.31.255.255",
    "one nine two": "192.168.1.1",
    "metadata": "169.254.169.254",
    "credentials of a container": "169.254.170.2",
    "carrier": "100.64.0.1",
    "protocol assignments": "192.0.0.170",
    "documentation": "192.0.2.1",
    "documentation 2": "198.51.100.1",
    "documentation 3": "203.0.113.1",
    "6to4 relay": "192.88.99.1",
    "benchmark": "198.18.0.1",
    "multicast": "224.0.0.1",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "IPv6 loopback": "::1",
    "IPv6 unspecified": "::",
    "mapped loopback": "::ffff:127.0.0.1",
    "mapped metadata": "::ffff:a9fe:a9fe",
    "mapped public": f"::ffff:{PUBLIC}",
    "compatible": "::127.0.0.1",
    "translated": "::ffff:0:127.0.0.1",
    "NAT64": "64:ff9b::a9fe:a9fe",
    "NAT64 of a public address": f"64:ff9b::{PUBLIC}",
    "local NAT64": "64:ff9b:1::7f00:1",
    "discard": "100::1",
    "Teredo": "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "ORCHID": "2001:20::1",
    "IPv6 documentation": "2001:db8::1",
    "IPv6 documentation 2": "3fff::1",
    "6to4 of metadata": "2002:a9fe:a9fe::1",
    "6to4 of loopback": "2002:7f00:1::",
    "segment routing": "5f00::1",
    "unique local": "fd12:3456::1",
    "IPv6 metadata": "fd00:ec2::254",
    "IPv6 link-local": "fe80::1",
    "scoped": "fe80::1%eth0",
    "scoped public": "2600::1%eth0",
    "site-local": "fec0::1",
    "IPv6 multicast": "ff02::1",
}


def in_url(address: str) -> str:
    return f"[{address.replace('%', '%25')}]" if ":" in address else address


HOSTILE = {f"address: {name}": f"https://{in_url(hidden)}/" for name, hidden in HIDDEN.items()} | {
    "runtime": "https://127.0.0.1:9001/2018-06-01/runtime/invocation/next",
    "metadata's path": "https://169.254.169.254/latest/meta-data/iam/security-credentials/",
    "decimal": "https://2130706433/",
    "decimal metadata": "https://2852039166/",
    "decimal public": "https://1572395042/",
    "octal": "https://0177.0.0.1/",
    "octal with zeros": "https://0000177.0000.0000.01/",
    "octal number": "https://017700000001/",
    "octal metadata": "https://0251.0376.0251.0376/",
    "hex": "https://0x7f000001/",
    "hex parts": "https://0x7f.0x0.0x0.0x1/",
    "upper-case hex": "https://0XA9FEA9FE/",
    "hex without digits": "https://127.0.0.0x/",
    "short": "https://127.1/",
    "shorter": "https://0/",
    "three parts": "https://169.254.43518/",
    "mixed": "https://0xa9.254.0251.254/",
    "overflow": "https://4294967297/",
    "part overflow": "https://383.0.0.1/",
    "five parts": "https://127.0.0.0.1/",
    "leading zero": "https://127.0.0.01/",
    "address with a trailing dot": "https://127.0.0.1./",
    "decimal with a trailing dot": "https://2130706433./",
    "mapped in hex": "https://[::ffff:7f00:1]/",
    "long IPv6": "https://[0000:0000:0000:0000:0000:0000:0000:0001]/",
    "no closing bracket": "https://[::1/",
    "name in brackets": "https://[localhost]/",
    "future address": "https://[v1.x]/",
    "localhost": "https://localhost/",
    "localhost in upper case": "https://LOCALHOST/",
    "localhost with a dot": "https://localhost./",
    "below localhost": "https://x.localhost/",
    "localhost's other name": "https://ip6-loopback/",
    "name of loopback": "https://loopback.example/",
    "user": "https://me@public.example/",
    "empty user": "https://@public.example/",
    "password": "https://me:secret@public.example/",
    "public user at a private host": "https://public.example@127.0.0.1/",
    "public user with a port": "https://public.example:443@127.0.0.1/",
    "two users": "https://a@public.example@127.0.0.1/",
    "backslash": "https://public.example\\@127.0.0.1/",
    "backslash as a slash": "https:\\\\127.0.0.1\\",
    "fragment before a user": "https://127.0.0.1#@public.example/",
    "encoded host": "https://%31%32%37.0.0.1/",
    "encoded dot": "https://127%2e0%2e0%2e1/",
    "encoded NUL": "https://public.example%00.127.0.0.1/",
    "circled digits": "https://①②⑦.⓪.⓪.①/",
    "full-width digits": "https://１２７.0.0.1/",  # noqa: RUF001 - see above
    "ideographic dots": "https://127。0。0。1/",
    "full-width localhost": "https://ｌocalhost/",  # noqa: RUF001 - see above
    "long s": "https://localhoſt/",  # noqa: RUF001 - see above
    "soft hyphen": "https://local\xadhost/",
    "line": "https://public.example/\r\nHost: 127.0.0.1",
    "tab in the host": "https://127.0\t.0.1/",
    "blank": "https:// 127.0.0.1/",
    "blank before": " https://127.0.0.1/",
    "NUL": "https://public.example\0.127.0.0.1/",
    "no host": "https:///etc/passwd",
    "nothing": "",
    "no scheme": "//127.0.0.1/",
    "only a host": "127.0.0.1",
    "port 0": "https://public.example:0/",
    "port of too many": "https://public.example:65536/",
    "negative port": "https://public.example:-1/",
    "port in words": "https://public.example:https/",
    "http": "http://public.example/",
    "upper-case http": "HTTP://public.example/",
    "file": "file:///etc/passwd",
    "file on a host": "file://public.example/etc/passwd",
    "ftp": "ftp://public.example/",
    "gopher": "gopher://127.0.0.1:6379/_FLUSHALL",
    "data": "data:text/plain,hello",
    "javascript": "javascript:alert(1)",
    "unix": "unix:///var/run/docker.sock",
    "http over unix": "http+unix://%2fvar%2frun%2fdocker.sock/",
    "long": f"https://public.example/{'x' * 8000}",
    "long label": f"https://{'x' * 64}.example/",
    "empty label": "https://public..example/",
}


@pytest.fixture
def network() -> Iterator[Network]:
    with watched() as network:
        network.names = {
            "public.example": [[PUBLIC]],
            "loopback.example": [["127.0.0.1"]],
            **{
                f"{name}{dot}": [["127.0.0.1"]]
                for name in ("localhost", "x.localhost", "ip6-loopback")
                for dot in ("", ".")
            },
        }
        yield network


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca") / "authority")


@pytest.fixture
def trusting(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Who trusts the authority, as the environment of OpenSSL has it."""
    with monkeypatch.context() as environment:
        environment.setenv("SSL_CERT_FILE", str(authority.root))
        egress._tls.cache_clear()
        yield
    egress._tls.cache_clear()


@pytest.fixture
def public(network: Network, authority: Authority, trusting: None) -> Iterator[Web]:
    """A server with TLS at a public address, by the name that its certificate is for."""
    with Web(tls=authority.context) as web:
        network.names["localhost"] = network.names["localhost."] = [[PUBLIC]]
        network.routes[PUBLIC] = web.port
        yield web


@pytest.fixture
def web(network: Network) -> Iterator[Web]:
    """A server without TLS at a loopback address."""
    with Web() as web:
        yield web


def get(url: str, **options: Any) -> Reply:
    asked: dict[str, Any] = {"headers": {}, "body": None, "seconds": 5.0}
    return egress.fetch("GET", url, **asked | options)


# ── What is refused ─────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("url", HOSTILE.values(), ids=HOSTILE)
def test_no_connection_is_made_to_a_hostile_url(network: Network, url: str) -> None:
    with pytest.raises(EgressRefused):
        get(url)
    assert network.connected == []


@pytest.mark.parametrize("address", HIDDEN.values(), ids=HIDDEN)
def test_no_connection_is_made_to_a_name_with_an_address_that_is_not_public(
    network: Network, address: str
) -> None:
    for addresses in ([address], [PUBLIC, address], [address, PUBLIC]):
        network.names["hidden.example"] = [addresses]
        with pytest.raises(EgressRefused):
            get("https://hidden.example/")
    assert network.connected == []


# A redirect is relative to its page: without a scheme or a host, it stays where it may be. And
# localhost stands for the public host here.
STAYING = {"nothing", "only a host", "no host"}
LEADING = {
    name: url
    for name, url in HOSTILE.items()
    if name not in STAYING and "localhost" not in url.lower()
}


@pytest.mark.parametrize("url", LEADING.values(), ids=LEADING)
def test_no_connection_is_made_to_a_hostile_url_that_a_redirect_leads_to(
    network: Network, public: Web, url: str
) -> None:
    location = url.replace("\r\n", " ")
    answer = [f"HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n".encode()]
    public.answers = lambda _: answer
    with pytest.raises(EgressRefused):
        get("https://localhost/")
    assert network.connected == [(PUBLIC, 443)]
    assert len(public.seen) == 1


def test_what_is_checked_is_what_is_connected_to_whatever_the_name_says_next(
    network: Network, public: Web
) -> None:
    network.names["localhost"] = [[PUBLIC], ["127.0.0.1"]]
    assert get("https://localhost:8443/").body == b"hello"
    assert network.resolved == ["localhost"]
    assert network.connected == [(PUBLIC, 8443)]


def test_a_redirect_back_to_a_name_that_leads_elsewhere_now_is_refused(
    network: Network, public: Web
) -> None:
    network.names["localhost"] = [[PUBLIC], ["169.254.169.254"]]
    public.answers = lambda _: reply(status=302, Location="/again")
    with pytest.raises(EgressRefused, match="not public"):
        get("https://localhost/")
    assert network.connected == [(PUBLIC, 443)]


NOT_EVEN_LOCALLY = {
    "metadata": "http://169.254.169.254/latest/meta-data/",
    "credentials of a container": "http://169.254.170.2/",
    "IPv6 metadata": "http://[fd00:ec2::254]/",
    "runtime": "http://127.0.0.1:9001/2018-06-01/runtime/invocation/next",
    "runtime by name": "http://localhost:9001/",
    "runtime at another loopback address": "http://127.0.0.2:9001/",
    "runtime over IPv6": "http://[::1]:9001/",
    "runtime at no address": "http://0.0.0.0:9001/",
    "runtime mapped": "http://[::ffff:127.0.0.1]:9001/",
    "metadata mapped": "http://[::ffff:169.254.169.254]/",
    "metadata by NAT64": "http://[64:ff9b::a9fe:a9fe]/",
    "metadata by 6to4": "http://[2002:a9fe:a9fe::]/",
    "decimal": "http://2852039166/",
    "link-local": "http://[fe80::1]/",
    "scoped": "http://[fe80::1%25lo]/",
    "multicast": "http://224.0.0.1/",
    "broadcast": "http://255.255.255.255/",
    "user": "http://me@127.0.0.1/",
    "file": "file:///etc/passwd",
}


@pytest.mark.parametrize("url", NOT_EVEN_LOCALLY.values(), ids=NOT_EVEN_LOCALLY)
def test_where_private_addresses_are_allowed_metadata_and_the_runtime_are_not(
    network: Network, web: Web, url: str
) -> None:
    with pytest.raises(EgressRefused):
        get(url, plain=True)
    assert network.connected == []
    web.answers = lambda _: reply(status=307, Location=url)
    with pytest.raises(EgressRefused):
        get(web.url, plain=True)
    assert network.connected == [("127.0.0.1", web.port)]


def test_a_private_address_over_http_is_for_the_setting_alone(network: Network, web: Web) -> None:
    assert get(f"{web.url}/x?y=1", plain=True).body == b"hello"
    with pytest.raises(EgressRefused):
        get(f"{web.url}/x?y=1")
    assert [seen.path for seen in web.seen] == ["/x?y=1"]


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
    egress._tls.cache_clear()
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
    assert len(get(web.url, plain=True, most_bytes=1000).body) == 1000
    with pytest.raises(EgressFailed, match="larger than 999"):
        get(web.url, plain=True, most_bytes=999)


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
    began = time.monotonic()
    with pytest.raises(EgressFailed, match="in time"):
        get(url, plain=not secured, seconds=0.4)
    assert 0.35 < time.monotonic() - began < 1


def test_a_host_that_says_nothing_is_given_up_at_the_deadline(web: Web) -> None:
    def silent(_: object) -> Iterator[bytes]:
        web.closing.wait(5)
        yield b""

    web.answers = silent
    began = time.monotonic()
    with pytest.raises(EgressFailed, match="in time"):
        get(web.url, plain=True, seconds=0.3)
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        pytest.raises(EgressFailed, match="in time"),
    ):
        get(f"https://127.0.0.1:{mute.getsockname()[1]}/", plain=True, seconds=0.3)
    assert time.monotonic() - began < 1.5


def test_a_name_server_that_says_nothing_is_given_up_at_the_deadline(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    def hang(*_: object, **__: object) -> list[Any]:
        over.wait(5)
        return []

    monkeypatch.setattr("socket.getaddrinfo", hang)
    began = time.monotonic()
    with pytest.raises(EgressFailed, match="in time"):
        get("https://public.example/", seconds=0.3)
    over.set()
    assert time.monotonic() - began < 1


def test_redirects_share_one_deadline(web: Web) -> None:
    def slow(_: object) -> Iterator[bytes]:
        web.closing.wait(0.25)
        yield from reply(status=302, Location="/")

    web.answers = slow
    began = time.monotonic()
    with pytest.raises(EgressFailed, match="in time"):
        get(web.url, plain=True, seconds=0.6)
    assert time.monotonic() - began < 1


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
    assert isinstance(egress._tls(), ssl.SSLContext)
