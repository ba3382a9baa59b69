"""The egress guard, watched at the socket: no connection is made to what is refused."""

import pytest

from functions.runs.tools.egress import EgressRefused
from tests.integration.calling import get
from tests.integration.web import PUBLIC, Network, Web, reply

pytestmark = pytest.mark.usefixtures("network")

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
