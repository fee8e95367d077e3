"""Connections that TLS refuses: what another try would not change is an error at once."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest
from support.delivering import BATCH, HASTY, PATIENT, STORED
from support.scripted import Scripted, serving
from support.streams import listening
from support.tls import Authority, refusing_handshakes, serving_tls

from publisher import Event, Publisher, PublishGaveUp, RetryPolicy, TlsError, publish
from publisher.load.read_back import Reader, ReadFailed
from publisher.retry import Retry, publish_batch

ONE = Event("orders", {"total": 1}, source="shop", event_id="a")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


async def send(
    url: str,
    context: ssl.SSLContext,
    policy: RetryPolicy = HASTY,
    told: list[Retry] | None = None,
) -> list[object]:
    retries = [] if told is None else told
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector) as session:
        return list(
            await publish_batch(session, url, BATCH, policy=policy, on_retry=retries.append)
        )


async def test_valid_certificate_is_accepted(authority: Authority) -> None:
    async with serving_tls(authority.serving("127.0.0.1")) as server:
        assert await send(server.url, authority.trusting(), PATIENT) == STORED


Context = Callable[[Authority], ssl.SSLContext]


@pytest.mark.parametrize(
    ("server_has", "client_has", "sentence"),
    [
        (
            lambda ca: ca.serving("events.example.org"),
            Authority.trusting,
            "IP address mismatch, certificate is not valid for '127.0.0.1'; use a URL with a name",
        ),
        (
            lambda ca: ca.serving("127.0.0.1", expired=True),
            Authority.trusting,
            "certificate has expired; have it renewed, or set the clock of this machine",
        ),
        (
            lambda ca: ca.serving("127.0.0.1"),
            lambda _: ssl.create_default_context(),
            "unable to get local issuer certificate; name a file with the certificates to trust:",
        ),
    ],
    ids=["another name", "expired", "an unknown authority"],
)
async def test_invalid_certificate_is_an_error_without_retry(
    authority: Authority,
    server_has: Context,
    client_has: Context,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    retries: list[Retry] = []
    async with serving_tls(server_has(authority)) as server:
        with pytest.raises(TlsError) as refused:
            await send(server.url, client_has(authority), told=retries)
    told = str(refused.value)
    assert told.startswith(f"the certificate of {server.url} does not verify: {sentence}")
    assert not refused.value.may_be_stored
    assert refused.value.status is None
    assert retries == []
    assert server.bodies == []


async def test_certificate_for_another_name_is_an_error(authority: Authority) -> None:
    async with serving_tls(authority.serving("127.0.0.1")) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        with pytest.raises(
            TlsError, match=r"Hostname mismatch, .* for 'localhost'; use a URL with"
        ):
            await send(url, authority.trusting())


async def test_a_file_of_authorities_that_cannot_be_read_is_named(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/authorities.pem")
    async with serving_tls(authority.serving("127.0.0.1")) as server:
        with pytest.raises(TlsError, match=r"names, '/nowhere/authorities\.pem', cannot be read$"):
            await send(server.url, ssl.create_default_context())


async def test_server_without_tls_is_an_error_without_retry() -> None:
    retries: list[Retry] = []
    async with serving() as server:
        url = server.url.replace("http:", "https:")
        with pytest.raises(TlsError, match=r"^https://127\.0\.0\.1:\d+ does not speak TLS: if"):
            await send(url, ssl.create_default_context(), told=retries)
    assert retries == []
    assert server.bodies == []


def of_another_version(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    server.minimum_version = ssl.TLSVersion.TLSv1_3
    client.maximum_version = ssl.TLSVersion.TLSv1_2


def with_other_ciphers(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    server.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    client.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")


def that_ask_for_a_client_certificate(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    server.verify_mode = ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    "differ", [of_another_version, with_other_ciphers, that_ask_for_a_client_certificate]
)
async def test_refused_handshake_is_a_tls_error(
    authority: Authority, differ: Callable[[ssl.SSLContext, ssl.SSLContext], None]
) -> None:
    server, client = authority.serving("127.0.0.1"), authority.trusting()
    differ(server, client)
    told = "refuses to speak TLS with this program: no version"
    # That it asks for a certificate comes behind the handshake, and for some tries too late.
    with refusing_handshakes(server) as url, pytest.raises(TlsError, match=told):
        await send(url, client, PATIENT)


async def test_interrupted_handshake_is_retried() -> None:
    retries: list[Retry] = []

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)

    async with listening(hang_up) as port:
        with pytest.raises(PublishGaveUp) as gave_up:
            await send(f"https://127.0.0.1:{port}", ssl.create_default_context(), HASTY, retries)
    assert retries[0].reason.endswith(": the connection was closed")
    assert gave_up.value.attempts > 1


@pytest.fixture
async def distrusted(authority: Authority) -> AsyncIterator[Scripted]:
    """A server whose authority nobody trusts."""
    async with serving_tls(authority.serving("127.0.0.1")) as server:
        yield server


async def test_every_event_of_a_publisher_gets_the_tls_error(distrusted: Scripted) -> None:
    async with Publisher(distrusted.url, policy=HASTY) as publisher:
        for _ in range(2):
            with pytest.raises(TlsError, match="does not verify: unable to get"):
                await publisher.publish(ONE)


async def test_publish_returns_the_tls_error(distrusted: Scripted) -> None:
    (outcome,) = await asyncio.to_thread(publish, distrusted.url, [ONE], policy=HASTY)
    assert isinstance(outcome, TlsError)


async def test_reader_does_not_retry_a_tls_error(distrusted: Scripted) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ReadFailed, match="does not verify: unable to get local issuer"):
            await Reader(session, distrusted.url, float("inf")).stats()
