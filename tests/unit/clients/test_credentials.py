"""Every client shows its credentials, and ends or waits as it should when they are not taken."""

import asyncio
import logging
import os
import traceback
from pathlib import Path

import pytest
from aiohttp import web
from support.clients import CLIENTS, ClientKind, Waits
from support.guarded import guarding, problem
from support.tls import Authority, refusing_handshakes

from publisher import Credentials, PublishError
from publisher.load.read_back import ReadFailed
from publisher.tokens import _look_of
from subscriber import FollowError, SubscriptionError

TOKEN = "agg_right-0123456789"
OTHER = "agg_other-9876543210"

ENDINGS = (PublishError, ReadFailed, FollowError, SubscriptionError)

each_client = pytest.mark.parametrize("client", CLIENTS, ids=[each.name for each in CLIENTS])


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(autouse=True)
def _nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "AGGREGATOR_TOKEN", "AGGREGATOR_URL"):
        monkeypatch.delenv(name, raising=False)


async def failure(client: ClientKind, url: str, credentials: Credentials) -> Exception:
    """The error with which the use of a client ends, at once."""
    waits: Waits = []
    with pytest.raises(ENDINGS) as ended:
        await client.use(url, credentials, waits)
    assert waits == []
    return ended.value


def token_file(directory: Path, token: str = TOKEN) -> Path:
    file = directory / "token"
    replace(file, token)
    return file


def replace(file: Path, token: str) -> None:
    """Put another file in the place of one, as those do who turn tokens."""
    new = file.with_name(".new")
    new.write_text(f"{token}\n")
    new.chmod(0o600)
    new.rename(file)


@each_client
async def test_the_token_and_further_headers_go_with_each_request(client: ClientKind) -> None:
    credentials = Credentials(token=TOKEN, headers={"X-Tenant": "north"})
    async with guarding(TOKEN) as server:
        await client.use(server.url, credentials, [])
    assert set(server.tokens) == {f"Bearer {TOKEN}"}
    assert {headers["X-Tenant"] for headers in server.headers} == {"north"}


@each_client
async def test_without_a_token_none_is_sent_and_a_refusal_says_how_to_give_one(
    client: ClientKind,
) -> None:
    async with guarding(TOKEN) as server:
        error = await failure(client, server.url, Credentials())
    assert server.tokens == [None]
    assert "401" in str(error)
    assert "no token was sent (--token-file, AGGREGATOR_TOKEN or Credentials)" in str(error)


@each_client
@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_token_is_an_error_at_once_that_does_not_show_it(
    client: ClientKind,
    status: int,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(request: web.Request) -> web.Response:
        # As a careless server might.
        return problem(status, f"no right for {request.headers['Authorization']} to orders")

    caplog.set_level(logging.DEBUG)
    for credentials in (
        Credentials(token=OTHER),
        Credentials(token=lambda: OTHER),
        Credentials(token_file=token_file(tmp_path, OTHER)),
    ):
        async with guarding(TOKEN, refuse=refuse) as server:
            error = await failure(client, server.url, credentials)
        assert server.tokens == [f"Bearer {OTHER}"]
        assert f"{status}: no right for Bearer (token) to orders" in str(error)
        shown = [str(error), repr(error), *traceback.format_exception(error), repr(credentials)]
        assert OTHER not in "".join(shown)
    assert OTHER not in caplog.text


@pytest.mark.parametrize(
    "forms", ["text/plain", "a title", "a long detail", "an error of a field", "a redirect"]
)
@each_client
async def test_whatever_repeats_the_token_it_is_not_shown(client: ClientKind, forms: str) -> None:
    answers = {
        "text/plain": web.Response(status=403, text=f"x {OTHER}"),
        "a title": web.json_response({"title": f"x {OTHER}"}, status=403),
        # Where the reason is cut, only the beginning of it is left.
        "a long detail": web.json_response({"detail": "x" * 190 + OTHER}, status=403),
        "an error of a field": web.json_response(
            {"detail": "x", "errors": [{"message": OTHER}]}, status=403
        ),
        "a redirect": web.Response(status=307, headers={"Location": f"/{OTHER}"}),
    }
    async with guarding(refuse=lambda _: answers[forms]) as server:
        error = await failure(client, server.url, Credentials(token=OTHER))
    shown = "".join([str(error), repr(error), *traceback.format_exception(error)])
    assert OTHER[:8] not in shown


async def test_429_is_waited_for_as_it_asks_and_tried_again() -> None:
    async def use(client: ClientKind) -> None:
        busy = [problem(429, "too many events a second", **{"Retry-After": "1"})]
        waits: Waits = []
        async with guarding(TOKEN, refuse=lambda _: busy.pop() if busy else None) as server:
            await client.use(server.url, Credentials(token=TOKEN), waits)
        assert server.tokens == [f"Bearer {TOKEN}"] * 2
        if client.tells_waits:
            ((reason, wait_s),) = waits
            assert "429 too many events a second" in reason
            assert wait_s >= 1

    # Side by side, since each waits for a second.
    await asyncio.gather(*map(use, CLIENTS))


@each_client
@pytest.mark.parametrize("status", [401, 403])
async def test_a_token_file_that_changed_meanwhile_is_tried_once_before_giving_up(
    client: ClientKind, status: int, tmp_path: Path
) -> None:
    file = token_file(tmp_path, OTHER)

    def refuse(request: web.Request) -> web.Response | None:
        if request.headers["Authorization"] == f"Bearer {TOKEN}":
            return None
        replace(file, TOKEN)
        return problem(status, "this token is not in force any more")

    waits: Waits = []
    async with guarding(TOKEN, refuse=refuse) as server:
        await client.use(server.url, Credentials(token_file=file), waits)
    assert server.tokens == [f"Bearer {OTHER}", f"Bearer {TOKEN}"]
    if client.tells_waits:
        ((reason, _),) = waits
        assert reason == (
            f"{status} this token is not in force any more; there is another token by now"
        )


@each_client
async def test_a_second_token_that_is_refused_ends_it(client: ClientKind, tmp_path: Path) -> None:
    file = token_file(tmp_path, OTHER)

    def refuse(request: web.Request) -> web.Response:
        replace(file, "agg_second")
        return problem(401, "not in force")

    async with guarding(refuse=refuse) as server:
        with pytest.raises(ENDINGS, match="401: not in force"):
            await client.use(server.url, Credentials(token_file=file), [])
    assert server.tokens == [f"Bearer {OTHER}", "Bearer agg_second"]


@each_client
async def test_a_file_that_looks_unchanged_is_read_again_when_its_token_is_refused(
    client: ClientKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = token_file(tmp_path, OTHER)
    credentials = Credentials(token_file=file)
    replace(file, TOKEN)
    # As on a file system whose times are coarse.
    same = os.stat_result([0o100600] + [0] * 9)
    monkeypatch.setattr(Path, "stat", lambda *_, **__: same)
    monkeypatch.setattr(os, "fstat", lambda _: same)
    monkeypatch.setattr(credentials._token, "_seen", _look_of(same))
    async with guarding(TOKEN) as server:
        await client.use(server.url, credentials, [])
    assert server.tokens == [f"Bearer {OTHER}", f"Bearer {TOKEN}"]


@each_client
async def test_a_file_that_broke_is_named_beside_the_refusal_of_the_token_before(
    client: ClientKind, tmp_path: Path
) -> None:
    file = token_file(tmp_path, OTHER)
    credentials = Credentials(token_file=file)
    file.write_text(f"{TOKEN}\n{TOKEN}\n")
    async with guarding(TOKEN) as server:
        error = await failure(client, server.url, credentials)
    assert server.tokens == [f"Bearer {OTHER}"]
    told = f"; the token file '{file}' has 2 lines, where the token alone is to be, on one line"
    assert told in str(error)


@each_client
async def test_a_function_that_gives_no_token_now_is_asked_again(client: ClientKind) -> None:
    gives = [OSError(f"no answer to {OTHER}"), None]

    def token() -> str:
        if error := gives.pop(0):
            raise error
        return TOKEN

    waits: Waits = []
    async with guarding(TOKEN) as server:
        await client.use(server.url, Credentials(token=token), waits)
    assert server.tokens == [f"Bearer {TOKEN}"]
    if client.tells_waits:
        assert [reason for reason, _ in waits] == ["the function for the token raised OSError"]


@each_client
async def test_what_a_function_gives_that_is_no_token_ends_it(client: ClientKind) -> None:
    async with guarding(TOKEN) as server:
        error = await failure(client, server.url, Credentials(token=lambda: f"{TOKEN}\r\nX: y"))
    assert server.headers == []
    assert str(error) == (
        "what the function for the token returned has 2 lines, where the token alone is to be, on "
        "one line"
    )


@each_client
async def test_a_redirect_never_gets_the_token(client: ClientKind) -> None:
    async with guarding() as elsewhere:
        gone = web.Response(status=307, headers={"Location": f"{elsewhere.url}/publish"})
        async with guarding(refuse=lambda _: gone) as server:
            error = await failure(client, server.url, Credentials(token=TOKEN))
    assert "307: Temporary Redirect, moved to" in str(error)
    assert elsewhere.headers == []


@each_client
async def test_an_authority_of_ones_own_is_trusted_when_it_is_named(
    client: ClientKind, authority: Authority, tmp_path: Path
) -> None:
    ca_file = authority.write(tmp_path / "ca.pem")
    async with guarding(TOKEN, context=authority.serving("127.0.0.1")) as server:
        await client.use(server.url, Credentials(token=TOKEN, ca_file=ca_file), [])
        seen = len(server.headers)
        unknown = Authority().write(tmp_path / "other.pem")
        for credentials in (Credentials(token=TOKEN), Credentials(token=TOKEN, ca_file=unknown)):
            error = await failure(client, server.url, credentials)
            assert str(error).startswith(f"the certificate of {server.url} does not verify: ")
            assert "name a file with the certificates to trust: --ca, ca_file" in str(error)
    assert len(server.headers) == seen


@each_client
async def test_a_client_certificate_is_shown_to_who_asks_for_one(
    client: ClientKind, authority: Authority, tmp_path: Path
) -> None:
    ca_file = authority.write(tmp_path / "ca.pem")
    certificate, key = authority.write_client(tmp_path)
    both = tmp_path / "both.pem"
    both.write_text(certificate.read_text() + key.read_text())
    async with guarding(context=authority.asking("127.0.0.1")) as server:
        for client_cert, client_key in ((certificate, key), (both, None)):
            credentials = Credentials(
                ca_file=ca_file, client_cert=client_cert, client_key=client_key
            )
            await client.use(server.url, credentials, [])
    assert len(server.headers) >= 2


@each_client
async def test_without_a_client_certificate_that_is_asked_for_it_ends_with_a_sentence(
    client: ClientKind, authority: Authority, tmp_path: Path
) -> None:
    credentials = Credentials(ca_file=authority.write(tmp_path / "ca.pem"))
    told = "refuses to speak TLS .* client certificate, which --client-cert gives"
    # What the server says comes behind the handshake, and for some tries too late.
    with (
        refusing_handshakes(authority.asking("127.0.0.1")) as url,
        pytest.raises(ENDINGS, match=told),
    ):
        await client.use(url, credentials, [])


@each_client
async def test_a_client_certificate_that_is_not_taken_ends_it_with_a_sentence(
    client: ClientKind, authority: Authority, tmp_path: Path
) -> None:
    certificate, key = Authority().write_client(tmp_path)
    credentials = Credentials(
        ca_file=authority.write(tmp_path / "ca.pem"), client_cert=certificate, client_key=key
    )
    with (
        refusing_handshakes(authority.asking("127.0.0.1")) as url,
        pytest.raises(ENDINGS, match="does not take the client certificate: give one that"),
    ):
        await client.use(url, credentials, [])


@pytest.mark.parametrize("client", [each for each in CLIENTS if each.name != "load's reader"])
@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://user:secret@127.0.0.1:1", "a token does not go with a user in the URL"),
        ("http://127.0.0.1:1", "certificates are for TLS, and so for a URL that begins with https"),
    ],
)
async def test_credentials_that_do_not_go_with_the_url_are_refused(
    client: ClientKind, url: str, sentence: str, authority: Authority, tmp_path: Path
) -> None:
    credentials = Credentials(token=TOKEN, ca_file=authority.write(tmp_path / "ca.pem"))
    with pytest.raises(ValueError, match=sentence) as refused:
        await client.use(url, credentials, [])
    assert "secret" not in str(refused.value)


async def test_a_file_that_changes_between_requests_needs_no_refusal(tmp_path: Path) -> None:
    file = token_file(tmp_path, OTHER)
    credentials = Credentials(token_file=file)
    async with guarding(OTHER) as server:
        for token in (OTHER, TOKEN):
            replace(file, token)
            server.token = token
            for client in CLIENTS:
                await client.use(server.url, credentials, [])
    half = len(server.tokens) // 2
    assert server.tokens == [f"Bearer {OTHER}"] * half + [f"Bearer {TOKEN}"] * half
