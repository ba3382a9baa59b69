"""A certificate authority, and TLS in front of servers without it, as RDS Proxy does it."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import AF_UNIX, SHUT_WR, create_server, socket

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "localhost"
POSTGRES_SSL_REQUEST = bytes.fromhex("0000000804d2162f")


class Authority:
    """An authority that has signed a certificate for HOST; clients that trust `root` accept it."""

    def __init__(self, folder: Path) -> None:
        key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, folder.name)])
        root = _certificate(name, name, key, key, x509.BasicConstraints(ca=True, path_length=0))
        server = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
        alternative = x509.SubjectAlternativeName([x509.DNSName(HOST)])
        folder.mkdir()
        self.root = folder / "root.pem"
        self.root.write_bytes(root.public_bytes(serialization.Encoding.PEM))
        chain = folder / "server.pem"
        chain.write_bytes(
            _certificate(server, name, server_key, key, alternative).public_bytes(
                serialization.Encoding.PEM
            )
            + server_key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(chain)


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> x509.Certificate:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(extension, critical=True)
        # Python 3.13 and later require the next three in every chain.
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .add_extension(_use(signs=subject == issuer), critical=True)
        .sign(signer, hashes.SHA256())
    )


def _use(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


@contextmanager
def front(authority: Authority, unix_socket: str, *, postgres: bool = False) -> Iterator[int]:
    """Serve the server on a Unix socket over TLS; yield the port on HOST."""
    with create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(
            target=_accept, args=(listener, authority, unix_socket, postgres), daemon=True
        ).start()
        yield listener.getsockname()[1]


def _accept(listener: socket, authority: Authority, unix_socket: str, postgres: bool) -> None:
    with suppress(OSError):  # the listener is closed
        while True:
            client, _ = listener.accept()
            arguments = (client, authority, unix_socket, postgres)
            threading.Thread(target=_serve, args=arguments, daemon=True).start()


def _serve(client: socket, authority: Authority, unix_socket: str, postgres: bool) -> None:
    with client, suppress(OSError):  # a client that does not trust us hangs up
        if postgres:
            assert client.recv(8) == POSTGRES_SSL_REQUEST
            client.sendall(b"S")
        with (
            authority.context.wrap_socket(client, server_side=True) as inner,
            socket(AF_UNIX) as server,
        ):
            server.connect(unix_socket)
            back = threading.Thread(target=_copy, args=(server, inner), daemon=True)
            back.start()
            _copy(inner, server)
            back.join()


def _copy(source: socket, target: socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(SHUT_WR)
