"""The way out to addresses that tenants choose: none that is not public is connected to.

A host is resolved once, each of its addresses is checked, and the connection goes to a checked
address itself: what a name server says a moment later changes nothing. A redirect is a new address
like any other. No proxy is asked.
"""

import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPResponse
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from queue import Empty, SimpleQueue
from struct import pack
from threading import Thread, Timer
from urllib.parse import urljoin, urlsplit

MOST_BYTES = 256 * 1024
MOST_REDIRECTS = 3
REDIRECTS = {301, 302, 303, 307, 308}
LONGEST_URL = 8000
PORTS = {"https": 443, "http": 80}
RUNTIME_PORT = 9001
"""Where, at 127.0.0.1, Lambda's runtime hands out events."""

URL = re.compile(r"[!-\[\]-~]+")  # visible ASCII without a backslash, which some read as a slash
HOST = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63}){0,126}\.?")
NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")

UNICAST = (ip_network("0.0.0.0/0"), ip_network("2000::/3"))
NOT_PUBLIC = [
    ip_network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16"),
        *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        # Teredo is in the first, 6to4 is the third; NAT64 and mapped IPv4 are outside of 2000::/3.
        *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
    )
]
LOCAL = [
    ip_network(network)
    for network in (
        *("10.0.0.0/8", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7"),
    )
]
METADATA = ip_network("fd00:ec2::/32")
AT_ONCE = pack("ii", 1, 0)
"""Closed so, a connection is reset: whoever goes on sending hears of it now, not by and by."""

Address = IPv4Address | IPv6Address


class EgressRefused(Exception):
    """Not to be asked; the reason is in our own words."""


class EgressFailed(Exception):
    """Asked without success; the reason is in our own words."""


class _EgressTimeout(EgressFailed):
    def __init__(self) -> None:
        super().__init__("There was no full answer in time")


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, whatever its status."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class _Target:
    """What a URL names."""

    scheme: str
    netloc: str
    host: str
    port: int
    path: str

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port


def fetch(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: bytes | None,
    seconds: float,
    most_bytes: int = MOST_BYTES,
    plain: bool = False,
) -> Reply:
    """Return the reply; a GET follows redirects, and takes its headers to no other origin.

    `plain` allows http and private addresses: for local use alone. Raises Refused for what must not
    be asked, and Failed for all that goes wrong on the way.
    """
    deadline = time.monotonic() + seconds
    target = _target(url, plain=plain)
    for _ in range(MOST_REDIRECTS + 1):
        with _response(method, target, headers, body, deadline, plain=plain) as response:
            location = response.getheader("Location")
            if method != "GET" or response.status not in REDIRECTS or location is None:
                content_type = response.getheader("Content-Type", "")
                return Reply(response.status, content_type, _read(response, most_bytes))
        before, url = target, _joined(url, location)
        target = _target(url, plain=plain)
        if target.origin != before.origin:
            headers = {}
    raise EgressRefused(f"There were more than {MOST_REDIRECTS} redirects")


# ── What may be asked ───────────────────────────────────────────────────────────────────────────
def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise EgressRefused("A redirect leads to no valid URL") from None


def _target(url: str, *, plain: bool) -> _Target:
    """Return what a URL names, if it is one that everybody reads alike; raises Refused."""
    if len(url) > LONGEST_URL or not URL.fullmatch(url):
        raise EgressRefused("The URL is too long, or holds characters that must be percent-encoded")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise EgressRefused("The URL is not valid") from None
    if parts.scheme not in (PORTS if plain else {"https"}):
        raise EgressRefused("Only https is called")
    if "@" in parts.netloc:
        raise EgressRefused("The URL holds credentials")
    host = parts.hostname or ""
    if not (":" in host or HOST.fullmatch(host)):
        raise EgressRefused("The URL's host is not valid")
    if "[" in parts.netloc or NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        _literal(host)
    if port is None:
        port = PORTS[parts.scheme]
    if port < 1:
        raise EgressRefused("The URL's port is not valid")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return _Target(parts.scheme, parts.netloc, host, port, path)


def _literal(host: str) -> Address:
    """Return the address that a host spells out as every address must be; raises Refused."""
    try:
        return ip_address(host)
    except ValueError:
        raise EgressRefused("The URL spells an address in an unusual way") from None


def _check(address: Address, port: int, *, plain: bool) -> None:
    """Raise Refused unless an address is public, or, with `plain`, an ordinary local one."""
    public = any(address in network for network in UNICAST) and not any(
        address in network for network in NOT_PUBLIC
    )
    local = any(address in network for network in LOCAL) and not (
        address in METADATA or (address.is_loopback and port == RUNTIME_PORT)
    )
    scoped = isinstance(address, IPv6Address) and address.scope_id is not None
    if scoped or not (public or (plain and local)):
        raise EgressRefused("The host is at an address that is not public")


def _addresses(target: _Target, deadline: float, *, plain: bool) -> list[Address]:
    """Resolve a host, once; raises Refused if a single address of it is refused, and Failed."""
    if ":" in target.host or NUMBER.fullmatch(target.host.rpartition(".")[2]):
        found = [_literal(target.host)]
    else:
        found = _resolved(target.host, target.port, deadline)
    for address in found:
        _check(address, target.port, plain=plain)
    return found


def _resolved(host: str, port: int, deadline: float) -> list[Address]:
    # In a thread, since nothing else can put an end to a resolver's patience.
    answers: SimpleQueue[list[str]] = SimpleQueue()

    def resolve() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            found = []
        answers.put([str(address[0]) for *_, address in found])

    Thread(target=resolve, daemon=True).start()
    try:
        found = answers.get(timeout=_left(deadline))
    except Empty:
        raise _EgressTimeout from None
    if not found:
        raise EgressFailed("The host is not known")
    return [ip_address(address) for address in dict.fromkeys(found)]


# ── Asking ──────────────────────────────────────────────────────────────────────────────────────
@contextmanager
def _response(
    method: str,
    target: _Target,
    headers: Mapping[str, str],
    body: bytes | None,
    deadline: float,
    *,
    plain: bool,
) -> Iterator[HTTPResponse]:
    """Yield the response of a checked address; raises Refused, and Failed for what fails inside."""
    try:
        with (
            _connected(target, deadline, plain=plain) as connected,
            _secured(connected, target) as sock,
            _ending(sock, deadline),
        ):
            if isinstance(sock, ssl.SSLSocket):
                sock.do_handshake()
            connection = HTTPConnection(target.host, target.port)
            connection.sock = sock
            ours = {"Host": target.netloc, "Connection": "close"}
            connection.request(method, target.path, body, {**headers, **ours})
            with connection.getresponse() as response:
                yield response
    except ssl.SSLCertVerificationError:
        raise EgressFailed("The host's certificate is not valid for it") from None
    except (OSError, HTTPException, ValueError):  # the last for headers that break the protocol
        raise (
            _EgressTimeout() if _over(deadline) else EgressFailed("The connection failed")
        ) from None


@contextmanager
def _connected(target: _Target, deadline: float, *, plain: bool) -> Iterator[socket.socket]:
    """Yield a connection to the first of the target's addresses that takes one."""
    addresses = _addresses(target, deadline, plain=plain)
    for tried, address in enumerate(addresses):
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(_left(deadline) / (len(addresses) - tried))
            try:
                sock.connect((str(address), target.port))
            except OSError:
                continue
            yield sock
            return
    raise EgressFailed("The host takes no connection")


def _secured(sock: socket.socket, target: _Target) -> socket.socket:
    """Return a connection that is to speak TLS, where the target wants it."""
    if target.scheme == "http":
        return sock
    name = target.host.rstrip(".")
    return _tls().wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False)


@contextmanager
def _ending(sock: socket.socket, deadline: float) -> Iterator[None]:
    """Cut a connection off at the deadline: a timeout begins anew with each byte that drips in."""
    end = Timer(_left(deadline), _cut, (sock,))
    end.daemon = True
    sock.settimeout(_left(deadline))
    end.start()
    try:
        yield
    finally:
        end.cancel()
    if _over(deadline):  # what was cut off may look like an end
        raise _EgressTimeout


def _cut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # not TLS's own, which another thread is in


def _read(response: HTTPResponse, most_bytes: int) -> bytes:
    body = response.read(most_bytes + 1)
    if len(body) > most_bytes:
        raise EgressFailed(f"The answer is larger than {most_bytes} bytes")
    if response.length:
        raise ConnectionError  # it ended early
    return body


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise _EgressTimeout
    return left


def _over(deadline: float) -> bool:
    return time.monotonic() >= deadline


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
