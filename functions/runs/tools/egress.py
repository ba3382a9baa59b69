"""HTTP to URLs that tenants choose: connects to public addresses only.

A host is resolved once, each of its addresses is checked, and the connection goes to a checked
address, so a name server cannot change it afterwards. A redirect is checked like any other URL. No
proxy is used (`docs/decisions/0014-the-way-out.md`).
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

MAX_BYTES = 256 * 1024
MAX_REDIRECTS = 3
REDIRECT_STATUSES = {301, 302, 303, 307, 308}
MAX_URL_CHARACTERS = 8000
PORTS = {"https": 443, "http": 80}
RUNTIME_PORT = 9001
"""Lambda's runtime API listens on this port of 127.0.0.1."""

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
RESET_ON_CLOSE = pack("ii", 1, 0)
"""SO_LINGER that resets the connection, so that a peer that still sends notices at once."""

Address = IPv4Address | IPv6Address


class EgressRefused(Exception):
    """The URL must not be called; the message is in our own words."""


class EgressFailed(Exception):
    """The call failed; the message is in our own words."""


class _EgressTimeout(EgressFailed):
    def __init__(self) -> None:
        super().__init__("There was no complete response in time")


@dataclass(frozen=True, slots=True)
class Reply:
    """A response, whatever its status."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class _Target:
    """The parts of a checked URL."""

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
    max_bytes: int = MAX_BYTES,
    plain: bool = False,
) -> Reply:
    """Return the reply; a GET follows redirects, without its headers to another origin.

    `plain` allows http and private addresses, for local use only. Raises EgressRefused for a URL
    that must not be called, and EgressFailed for a call that fails.
    """
    deadline = time.monotonic() + seconds
    target = _target(url, plain=plain)
    for _ in range(MAX_REDIRECTS + 1):
        with _response(method, target, headers, body, deadline, plain=plain) as response:
            location = response.getheader("Location")
            if method != "GET" or response.status not in REDIRECT_STATUSES or location is None:
                content_type = response.getheader("Content-Type", "")
                return Reply(response.status, content_type, _read(response, max_bytes))
        previous, url = target, _redirect_url(url, location)
        target = _target(url, plain=plain)
        if target.origin != previous.origin:
            headers = {}
    raise EgressRefused(f"There were more than {MAX_REDIRECTS} redirects")


# ── Checks ──────────────────────────────────────────────────────────────────────────────────────
def _redirect_url(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise EgressRefused("A redirect leads to an invalid URL") from None


def _target(url: str, *, plain: bool) -> _Target:
    """Parse a URL that every parser reads the same way; raises EgressRefused for any other."""
    if len(url) > MAX_URL_CHARACTERS or not URL.fullmatch(url):
        raise EgressRefused("The URL is too long, or has characters that must be percent-encoded")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise EgressRefused("The URL is not valid") from None
    if parts.scheme not in (PORTS if plain else {"https"}):
        raise EgressRefused("Only https is allowed")
    if "@" in parts.netloc:
        raise EgressRefused("The URL contains credentials")
    host = parts.hostname or ""
    if not (":" in host or HOST.fullmatch(host)):
        raise EgressRefused("The URL's host is not valid")
    if "[" in parts.netloc or NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        _parse_address(host)
    if port is None:
        port = PORTS[parts.scheme]
    if port < 1:
        raise EgressRefused("The URL's port is not valid")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return _Target(parts.scheme, parts.netloc, host, port, path)


def _parse_address(host: str) -> Address:
    """Return the address that a host is, in the usual notation only; raises EgressRefused."""
    try:
        return ip_address(host)
    except ValueError:
        raise EgressRefused("The URL writes an address in an unusual notation") from None


def _check_address(address: Address, port: int, *, plain: bool) -> None:
    """Raise EgressRefused unless an address is public, or, with `plain`, a usual local one."""
    public = any(address in network for network in UNICAST) and not any(
        address in network for network in NOT_PUBLIC
    )
    local = any(address in network for network in LOCAL) and not (
        address in METADATA or (address.is_loopback and port == RUNTIME_PORT)
    )
    scoped = isinstance(address, IPv6Address) and address.scope_id is not None
    if scoped or not (public or (plain and local)):
        raise EgressRefused("The host has an address that is not public")


def _resolve_checked(target: _Target, deadline: float, *, plain: bool) -> list[Address]:
    """Resolve a host once; raises EgressRefused if any of its addresses is, and EgressFailed."""
    if ":" in target.host or NUMBER.fullmatch(target.host.rpartition(".")[2]):
        addresses = [_parse_address(target.host)]
    else:
        addresses = _resolve(target.host, target.port, deadline)
    for address in addresses:
        _check_address(address, target.port, plain=plain)
    return addresses


def _resolve(host: str, port: int, deadline: float) -> list[Address]:
    # In a thread: getaddrinfo has no timeout.
    answers: SimpleQueue[list[str]] = SimpleQueue()

    def resolve() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            found = []
        answers.put([str(address[0]) for *_, address in found])

    Thread(target=resolve, daemon=True).start()
    try:
        found = answers.get(timeout=_seconds_left(deadline))
    except Empty:
        raise _EgressTimeout from None
    if not found:
        raise EgressFailed("The host is not known")
    return [ip_address(address) for address in dict.fromkeys(found)]


# ── Calls ───────────────────────────────────────────────────────────────────────────────────────
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
    """Yield a response; raises EgressRefused, and EgressFailed, also for errors in the block."""
    try:
        with (
            _connect(target, deadline, plain=plain) as connected,
            _wrap_tls(connected, target) as sock,
            _cut_at(deadline, sock),
        ):
            if isinstance(sock, ssl.SSLSocket):
                sock.do_handshake()
            connection = HTTPConnection(target.host, target.port)
            connection.sock = sock
            fixed = {"Host": target.netloc, "Connection": "close"}
            connection.request(method, target.path, body, {**headers, **fixed})
            with connection.getresponse() as response:
                yield response
    except ssl.SSLCertVerificationError:
        raise EgressFailed("The host's certificate is not valid for it") from None
    except (OSError, HTTPException, ValueError):  # ValueError for headers that HTTP forbids
        raise (
            _EgressTimeout() if _is_over(deadline) else EgressFailed("The connection failed")
        ) from None


@contextmanager
def _connect(target: _Target, deadline: float, *, plain: bool) -> Iterator[socket.socket]:
    """Yield a connection to the first of the target's addresses that accepts one."""
    addresses = _resolve_checked(target, deadline, plain=plain)
    for tried, address in enumerate(addresses):
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004 - IPv4
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(_seconds_left(deadline) / (len(addresses) - tried))
            try:
                sock.connect((str(address), target.port))
            except OSError:
                continue
            yield sock
            return
    raise EgressFailed("The host accepts no connection")


def _wrap_tls(sock: socket.socket, target: _Target) -> socket.socket:
    """Return the connection, with TLS unless the target is http."""
    if target.scheme == "http":
        return sock
    name = target.host.rstrip(".")
    return _tls_context().wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False)


@contextmanager
def _cut_at(deadline: float, sock: socket.socket) -> Iterator[None]:
    """Cut a connection at the deadline: a socket's timeout starts anew with each byte."""
    timer = Timer(_seconds_left(deadline), _cut, (sock,))
    timer.daemon = True
    sock.settimeout(_seconds_left(deadline))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if _is_over(deadline):  # a cut may look like the end of the response
        raise _EgressTimeout


def _cut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # not TLS's own: another thread may be in it


def _read(response: HTTPResponse, max_bytes: int) -> bytes:
    body = response.read(max_bytes + 1)
    if len(body) > max_bytes:
        raise EgressFailed(f"The response is larger than {max_bytes} bytes")
    if response.length:
        raise ConnectionError  # the response ended early
    return body


def _seconds_left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise _EgressTimeout
    return left


def _is_over(deadline: float) -> bool:
    return time.monotonic() >= deadline


@cache
def _tls_context() -> ssl.SSLContext:
    return ssl.create_default_context()
