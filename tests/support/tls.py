"""An authority that issues certificates for tests, and a scripted server behind them."""

import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from support.scripted import Scripted


class Pair(NamedTuple):
    """The files of a certificate and of its key."""

    cert: Path
    key: Path

    def options(self) -> tuple[str, ...]:
        """The options of an aggregator that has them."""
        return ("--tls-cert", str(self.cert), "--tls-key", str(self.key))


class Authority:
    """Issues the certificates of servers, good and bad ones."""

    def __init__(self) -> None:
        self._own = trustme.CA()

    def trusting(self) -> ssl.SSLContext:
        """The context of a client that trusts this authority and no other."""
        context = ssl.create_default_context()
        self._own.configure_trust(context)
        return context

    def write(self, file: Path) -> Path:
        """Write its own certificate to a file, for SSL_CERT_FILE."""
        self._own.cert_pem.write_to_path(file)
        return file

    def pair(
        self,
        directory: Path,
        *names: str,
        common_name: str | None = None,
        uri: str | None = None,
        lives_s: float = 9e4,
    ) -> Pair:
        """Write a certificate for these names and addresses, and its key, which only we may read.

        Args:
            directory: of both files, `tls.crt` and `tls.key`; it is made.
            names: of the certificate.
            common_name: the common name of its subject.
            uri: one more name of it.
            lives_s: how long it is good from now on.
        """
        ends = datetime.now(UTC) + timedelta(seconds=lives_s)
        issued = self._own.issue_cert(*names, common_name=common_name, not_after=ends)
        chain = b"".join(each.bytes() for each in issued.cert_chain_pems)
        if uri is not None:
            chain = self._with_uri(chain, uri)
        directory.mkdir(exist_ok=True)
        pair = Pair(directory / "tls.crt", directory / "tls.key")
        pair.cert.write_bytes(chain)
        pair.key.touch(mode=0o600)
        pair.key.write_bytes(issued.private_key_pem.bytes())
        return pair

    def _with_uri(self, pem: bytes, uri: str) -> bytes:
        """Issue a certificate anew with a name that trustme has no kind for."""
        former = x509.load_pem_x509_certificate(pem)
        builder = (
            x509.CertificateBuilder()
            .subject_name(former.subject)
            .issuer_name(former.issuer)
            .public_key(former.public_key())
            .serial_number(former.serial_number)
            .not_valid_before(former.not_valid_before_utc)
            .not_valid_after(former.not_valid_after_utc)
        )
        for each in former.extensions:
            value = each.value
            if isinstance(value, x509.SubjectAlternativeName):
                value = x509.SubjectAlternativeName([*value, x509.UniformResourceIdentifier(uri)])
            builder = builder.add_extension(value, each.critical)
        key = serialization.load_pem_private_key(self._own.private_key_pem.bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        signed = builder.sign(key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)

    def client(self, pair: Pair | None = None) -> ssl.SSLContext:
        """The context of a client that trusts this authority, and may show a certificate."""
        context = self.trusting()
        if pair is not None:
            context.load_cert_chain(*pair)
        return context

    def serving(self, *names: str, expired: bool = False) -> ssl.SSLContext:
        """The context of a server with a certificate for these names and addresses."""
        ended = datetime.now(UTC) - timedelta(days=1) if expired else None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._own.issue_cert(
            *names, not_after=ended, not_before=ended and ended - timedelta(days=30)
        ).configure_cert(context)
        return context

    def asking(self, *names: str) -> ssl.SSLContext:
        """The context of a server as `serving` gives it, which asks clients for a certificate."""
        context = self.serving(*names)
        context.verify_mode = ssl.CERT_REQUIRED
        self._own.configure_trust(context)
        return context

    def write_client(self, directory: Path, name: str = "shop") -> tuple[Path, Path]:
        """Write the certificate of a client and its key to a file each."""
        issued = self._own.issue_cert(f"{name}.example.org")
        certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
        for number, part in enumerate(issued.cert_chain_pems):
            part.write_to_path(certificate, append=number > 0)
        issued.private_key_pem.write_to_path(key)
        key.chmod(0o600)
        return certificate, key


@asynccontextmanager
async def serving_tls(context: ssl.SSLContext) -> AsyncIterator[Scripted]:
    """A scripted server that speaks TLS; its URL has the address 127.0.0.1."""
    scripted = Scripted()
    app = web.Application()
    app.router.add_post("/publish", scripted.publish)
    server = TestServer(app, scheme="https")
    await server.start_server(ssl=context)
    scripted.url = f"https://127.0.0.1:{server.port}"
    try:
        yield scripted
    finally:
        await server.close()


@contextmanager
def refusing_handshakes(context: ssl.SSLContext) -> Iterator[str]:
    """A server of OpenSSL's own that ends each connection behind its handshake; gives its URL.

    It says why a handshake failed, as proxies do; one of asyncio hangs up without a word.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as executor:

        def serve() -> None:
            with suppress(OSError):  # the listener was shut down
                while True:
                    connection, _ = listener.accept()
                    connection.settimeout(10)
                    with connection, suppress(OSError):
                        context.wrap_socket(connection, server_side=True).recv(1)

        serving = executor.submit(serve)
        try:
            yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            serving.result()
