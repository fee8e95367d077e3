"""Pages in browsers: what is served to them, by what their requests say of where they come from.

The tables are written from docs/operate/access.md. Every case holds without tokens.
"""

import json
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.access import TokensFile, bearer
from support.events import published
from support.http import Client, MakeClient
from support.served import Served, serving_in_a_thread, talking

from aggregator.http.rights import NEEDS

# The way that a publish comes has nothing to do with the database.
pytestmark = pytest.mark.at_length("postgres-off")

Headers = Mapping[str, str] | list[tuple[str, str]]

APP = "https://app.example"
LOCAL_APP = "http://localhost:3000"
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/156.0.0.0 Safari/537.36"
EXPOSED = (
    "Link, Log-Head, Log-Start, Retry-After, RateLimit, RateLimit-Policy, Preference-Applied, "
    "X-Request-ID"
)
SETTINGS: dict[str, Any] = {"allow_origin": f"{APP},{LOCAL_APP}", "allowed_host": "log.example"}

SERVED: dict[str, Headers] = {
    "no browser": {},
    "no browser, another host": {"Host": "anything.example"},
    "its own page": {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"},
    "its own page, with its origin": {"Sec-Fetch-Site": "same-origin", "Origin": "http://{own}"},
    "its own page, through a proxy that names another host": {
        "Sec-Fetch-Site": "same-origin",
        "Origin": "https://log.example",
    },
    "typed by a person": {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
    "its own page, an older browser": {"Origin": "http://{own}"},
    "its own page, behind a proxy with TLS": {"Origin": "https://{own}"},
    "its own page, behind a proxy with TLS at its port": {
        "Origin": "https://log.example",
        "Host": "log.example",
    },
    "an older browser that names no origin": {"User-Agent": CHROME},
    "an allowed origin": {"Sec-Fetch-Site": "cross-site", "Origin": APP},
    "an allowed origin of the same site": {"Sec-Fetch-Site": "same-site", "Origin": LOCAL_APP},
    "an allowed origin, an older browser": {"Origin": APP},
    "localhost": {"Host": "localhost:8080", "User-Agent": CHROME},
    "a name below localhost": {"Host": "log.localhost", "User-Agent": CHROME},
    "a loopback address": {"Host": "127.8.9.1", "Cookie": "a=b"},
    "a loopback address of IPv6": {"Host": "[::1]:8080", "Sec-Fetch-Mode": "cors"},
    "an allowed host": {"Host": "LOG.example:1234", "User-Agent": CHROME},
}
FROM_ANOTHER_SITE: dict[str, Headers] = {
    "another site": {"Sec-Fetch-Site": "cross-site"},
    "another site, no-cors": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    "another port": {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:1"},
    "a site that nobody knows": {"Sec-Fetch-Site": "Same-Origin"},
    "an empty site": {"Sec-Fetch-Site": ""},
    "two sites": [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "cross-site")],
    "another origin": {"Origin": "https://evil.example"},
    "another origin's port": {"Origin": "http://127.0.0.1:1"},
    "another origin's host": {"Origin": "http://localhost:{port}"},
    "no port": {"Origin": "http://127.0.0.1"},
    "another scheme": {"Origin": "ftp://{own}"},
    "null": {"Origin": "null"},
    "null of another site": {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
    "an empty origin": {"Origin": ""},
    "two origins": [("Origin", "http://{own}"), ("Origin", "https://evil.example")],
    "two allowed origins": [("Origin", APP), ("Origin", LOCAL_APP)],
    "an origin that begins as its own": {"Origin": "http://{own}.evil.example"},
    "an origin that begins as an allowed one": {"Origin": f"{APP}.evil.example"},
    "an origin that ends as an allowed one": {"Origin": "https://evil-app.example"},
    "an allowed origin's other scheme": {"Origin": "http://app.example"},
    "an allowed origin's other port": {"Origin": f"{APP}:8443"},
    "an origin with a user": {"Origin": "http://a@{own}"},
    "a link to it": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    "an image": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "image"},
    "its own host by another name": {"Origin": "http://log.example:81", "Host": "log.example:80"},
}
FOREIGN_HOST: dict[str, dict[str, str]] = {
    f"{what}, {signal[0]}": {"Host": host, signal[0]: signal[1]}
    for what, host in {
        "another name": "evil.test",
        "another name with its port": "evil.test:{port}",
        "a name that begins as localhost": "localhost.evil.test",
        "a name that ends as localhost": "evillocalhost",
        "a name that ends as an allowed one": "evil-log.example",
        "a name below an allowed one": "evil.log.example",
        "an address of others": "192.0.2.1",
        "every address": "0.0.0.0",
        "no host": "",
        "what is no host": "localhost:80:80",
    }.items()
    for signal in [
        ("User-Agent", CHROME),
        ("Sec-Fetch-Site", "same-origin"),
        ("Sec-Fetch-Dest", "empty"),
        ("Cookie", "a=b"),
    ]
} | {"another name, its own origin": {"Host": "evil.test", "Origin": "http://evil.test"}}
VISIT = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.fixture(params=["auto", "off"])
def fast_path(request: pytest.FixtureRequest) -> str:
    """Both ways that a publish can come."""
    way: str = request.param
    return way


@pytest.fixture
async def guarded(make_client: MakeClient) -> Client:
    return await make_client(**SETTINGS)


def filled(headers: Headers, client: Client) -> list[tuple[str, str]]:
    own, port = f"{client.host}:{client.port}", str(client.port)
    given = headers if isinstance(headers, list) else headers.items()
    return [(name, each.replace("{own}", own).replace("{port}", port)) for name, each in given]


async def ask(client: Client, method: str, path: str, headers: Headers) -> tuple[int, str]:
    """Status and content of an answer."""
    body = None
    given = filled(headers, client)
    if method != "GET":
        given.append(("Content-Type", "application/json"))
        body = json.dumps(published() if path == "/publish" else {"topics": ["orders"]})
    async with client.request(method, path, headers=given, data=body) as answer:
        return answer.status, await answer.text()


async def received(client: Client) -> int:
    async with client.get("/stats") as answer:
        events: int = (await answer.json())["received"]
    return events


REQUESTS = [
    ("POST", "/publish"),
    ("GET", "/events"),
    ("GET", "/stats"),
    ("GET", "/metrics"),
    ("GET", "/health"),
    ("PUT", "/subscriptions/billing"),
]


async def test_other_programs_own_pages_and_allowed_origins_are_served(guarded: Client) -> None:
    for what, headers in SERVED.items():
        for method, path in REQUESTS:
            status, text = await ask(guarded, method, path, headers)
            assert status in {200, 201}, (what, method, path, text)
    assert await received(guarded) == len(SERVED)


async def test_what_pages_of_other_sites_send_is_refused(guarded: Client) -> None:
    for what, headers in FROM_ANOTHER_SITE.items():
        for method, path in [*REQUESTS, ("GET", "/nowhere")]:
            status, text = await ask(guarded, method, path, headers)
            told = (what, method, path, text)
            assert status == 403, told
            assert "--allow-origin" in json.loads(text)["detail"], told
    assert await received(guarded) == 0


async def test_browsers_that_name_a_foreign_host_are_refused(guarded: Client) -> None:
    for what, headers in FOREIGN_HOST.items():
        for method, path in REQUESTS:
            status, text = await ask(guarded, method, path, headers)
            told = (what, method, path, text)
            assert status == 403, told
            assert "--allowed-host" in json.loads(text)["detail"], told
    assert await received(guarded) == 0


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Cookie": "a=b"}])
async def test_every_route_is_guarded(guarded: Client, headers: dict[str, str]) -> None:
    for method, route in NEEDS:
        path = route.replace("{topic}", "orders").replace("{name}", "billing")
        path = path.replace("{event_id}", "e-1").replace("{offset}", "1")
        status, text = await ask(guarded, method, path, headers | {"Host": "evil.test"})
        assert status == 403, (method, path, text)


async def test_links_lead_to_what_tells_no_data_and_to_nothing_else(guarded: Client) -> None:
    assert (await ask(guarded, "GET", "/health", VISIT))[0] == 200
    for path in ("/events", "/stats", "/metrics", "/subscriptions", "/nowhere"):
        assert (await ask(guarded, "GET", path, VISIT))[0] == 403, path
    for name, value in {
        "Sec-Fetch-Dest": "iframe",
        "Sec-Fetch-Mode": "no-cors",
        "Host": "evil.test",
    }.items():
        assert (await ask(guarded, "GET", "/health", VISIT | {name: value}))[0] == 403, name
    assert (await ask(guarded, "POST", "/health", VISIT))[0] == 403


async def test_without_settings_no_other_origin_is_served_and_no_answer_opens_itself(
    client: Client,
) -> None:
    for origin in (APP, LOCAL_APP):
        assert (await ask(client, "POST", "/publish", {"Origin": origin}))[0] == 403
    async with client.get(
        "/stats", headers={"Origin": f"http://{client.host}:{client.port}"}
    ) as it:
        assert it.status == 200
        assert not [name for name in it.headers if name.startswith("Access-Control")]
    assert (await ask(client, "GET", "/stats", {"User-Agent": CHROME}))[0] == 200


async def test_answers_and_errors_are_given_to_allowed_origins_without_credentials(
    make_client: MakeClient, tmp_path: Path
) -> None:
    tokens = TokensFile(tmp_path / "tokens.toml")
    token = bearer(tokens.give("app", read=["orders"], publish=["orders"]))
    client = await make_client(tokens=tokens.path, **SETTINGS)
    from_app = {"Origin": APP, "Sec-Fetch-Site": "cross-site"}
    for method, path, headers, status in [
        ("GET", "/events?topic=orders", token, 200),
        ("GET", "/events?topic=orders", {}, 401),
        ("GET", "/events?topic=payments", token, 403),
        ("GET", "/events/orders/none", token, 404),
        ("GET", "/nowhere", token, 404),
        ("POST", "/stats", token, 405),
        ("GET", "/events?topic=orders&x=1", token, 422),
        ("POST", "/publish", token | {"Content-Type": "text/plain"}, 415),
        ("GET", "/events?topic=orders&limit=1", token | {"Accept": "text/event-stream"}, 422),
        ("GET", "/stats", token | {"Host": "evil.test", "Origin": APP}, 200),
    ]:
        async with client.request(method, path, headers=headers | from_app) as answer:
            assert answer.status == status, (method, path, await answer.text())
            assert answer.headers["Access-Control-Allow-Origin"] == APP
            assert answer.headers["Access-Control-Expose-Headers"] == EXPOSED
            assert "Access-Control-Allow-Credentials" not in answer.headers
            varies = answer.headers["Vary"].split(", ")
            assert "Origin" in varies
            if status == 200:
                assert "Accept-Encoding" in varies
    for headers in ({}, {"Origin": "https://evil.example"}):
        async with client.get("/stats", headers=token | headers) as answer:
            assert "Access-Control-Allow-Origin" not in answer.headers
            assert "Origin" in answer.headers["Vary"]


async def test_streams_and_publishes_of_allowed_origins_are_open_to_them(guarded: Client) -> None:
    headers = {"Origin": LOCAL_APP, "Sec-Fetch-Site": "same-site", "Accept": "text/event-stream"}
    async with guarded.get("/events?topic=orders", headers=headers) as answer:
        assert answer.status == 200
        assert answer.headers["Access-Control-Allow-Origin"] == LOCAL_APP
    async with guarded.post("/publish", json=published(), headers={"Origin": APP}) as answer:
        assert answer.status == 200
        assert answer.headers["Access-Control-Allow-Origin"] == APP


async def test_preflights_of_allowed_origins_need_no_credential_and_no_others_are_granted(
    make_client: MakeClient, tmp_path: Path
) -> None:
    tokens = TokensFile(tmp_path / "tokens.toml")
    asked = {"Access-Control-Request-Method": "PUT", "Sec-Fetch-Mode": "cors"}
    evil = "https://evil.example"
    guards: list[tuple[dict[str, Any], int]] = [({}, 403), ({"tokens": tokens.path}, 401)]
    for more, refused in guards:
        client = await make_client(**SETTINGS, **more)
        for path in ("/publish", "/subscriptions/billing", "/events"):
            async with client.options(path, headers=asked | {"Origin": APP}) as answer:
                assert (answer.status, await answer.read()) == (204, b"")
                assert answer.headers["Access-Control-Allow-Origin"] == APP
                assert "PUT" in answer.headers["Access-Control-Allow-Methods"]
                assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
                assert "Access-Control-Allow-Credentials" not in answer.headers
                assert answer.headers["Vary"] == "Origin"
            for headers in (
                asked | {"Origin": evil},
                asked | {"Origin": "null"},
                asked | {"Origin": APP, "Host": "evil.test"},
            ):
                async with client.options(path, headers=headers) as answer:
                    assert answer.status == refused
                    assert "Access-Control-Allow-Methods" not in answer.headers
            # It asks for nothing beforehand.
            async with client.options(path, headers={"Origin": APP}) as answer:
                assert answer.status == (405 if refused == 403 else 401)


async def test_refusals_have_an_order_and_a_token_stands_for_the_host_alone(
    make_client: MakeClient, tmp_path: Path
) -> None:
    tokens = TokensFile(tmp_path / "tokens.toml")
    writer = bearer(tokens.give("writer", publish=["orders"]))
    reader = bearer(tokens.give("reader", read=["orders"]))
    wrong = bearer(TokensFile(tmp_path / "other").give("x"))
    client = await make_client(tokens=tokens.path)
    evil, host = {"Origin": "https://evil.example"}, {"Host": "evil.test", "User-Agent": CHROME}

    async def publish(headers: dict[str, str]) -> tuple[int, str]:
        status, text = await ask(client, "POST", "/publish", headers)
        return status, json.loads(text).get("detail", "")

    for headers in (evil, host, wrong | evil, wrong | host):
        assert (await publish(headers))[0] == 401
    for headers in (writer | evil, reader | evil):
        status, detail = await publish(headers)
        assert (status, "--allow-origin" in detail) == (403, True)
    status, detail = await publish(reader | host)
    assert (status, detail) == (403, "'reader' may not publish")
    assert (await publish(writer | host))[0] == 200
    assert (await ask(client, "GET", "/health", writer | host))[0] == 200
    assert (await ask(client, "GET", "/health", wrong | host))[0] == 403
    tokens.give("anonymous-alone")
    assert (await ask(client, "GET", "/health", host))[0] == 403


async def test_a_body_of_a_page_without_a_type_is_415(guarded: Client) -> None:
    own = f"http://{guarded.host}:{guarded.port}"
    body = json.dumps(published()).encode()
    for origin in (own, APP):
        for method, path in [
            ("POST", "/publish"),
            ("PUT", "/subscriptions/billing"),
            ("POST", "/subscriptions/billing/lease"),
        ]:
            async with guarded.request(
                method,
                path,
                data=body,
                headers={"Origin": origin},
                skip_auto_headers=["Content-Type"],
            ) as answer:
                assert answer.status == 415, (origin, path, await answer.text())
    assert await received(guarded) == 0
    async with guarded.post("/publish", data=body, skip_auto_headers=["Content-Type"]) as answer:
        assert answer.status == 200


async def test_a_page_of_another_site_is_not_told_to_send_its_body(make_client: MakeClient) -> None:
    client = await make_client()
    assert isinstance(client.server, Served)
    async with talking(client.server) as talk:
        status, _, _ = await talk.answer(
            b"POST /publish HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\n"
            b"Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n"
        )
        assert status == 403


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("served")
    with serving_in_a_thread(directory, None, **SETTINGS) as served:
        yield served


def said(*values: str) -> st.SearchStrategy[str | None]:
    """Nothing, one of some values, or any text."""
    text = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12)
    return st.none() | st.sampled_from(values) | st.sampled_from(values) | text


@settings(max_examples=150)
@given(
    request=st.sampled_from(
        [("POST", "/publish"), ("GET", "/stats"), ("GET", "/health"), ("GET", "/events")]
    ),
    said=st.fixed_dictionaries(
        {
            "Sec-Fetch-Site": said("same-origin", "none", "same-site", "cross-site", "none,none"),
            "Sec-Fetch-Mode": said("navigate", "cors", "no-cors", "navigate"),
            "Sec-Fetch-Dest": said("document", "empty", "iframe", "document"),
            "Origin": said("http://OWN", "https://OWN", "null", APP, "https://evil.example"),
            "Host": said("OWN", "localhost", "log.example", "evil.test", "127.0.0.1.evil.test:80"),
            "Cookie": said("a=b"),
            "User-Agent": said("curl/8", CHROME),
        }
    ),
)
def test_nothing_from_another_site_is_served_but_what_an_allowed_origin_asks(
    served: Served, request: tuple[str, str], said: dict[str, str | None]
) -> None:
    method, path = request
    own = f"127.0.0.1:{served.port}"
    headers = {name: each.replace("OWN", own) for name, each in said.items() if each is not None}
    host = headers.setdefault("Host", own)
    connection = HTTPConnection("127.0.0.1", served.port, timeout=30)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        body = json.dumps(published()).encode() if method == "POST" else b""
        every: dict[str, Any] = {**headers, "Content-Type": "application/json"}
        if body:
            every["Content-Length"] = len(body)
        for name, value in every.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        status = connection.getresponse().status
    finally:
        connection.close()
    assert (status == 403) == is_refused(path, headers, host), status
    assert status in {200, 403}


def is_refused(path: str, headers: dict[str, str], host: str) -> bool:
    """Say from the page whether a request is refused, written without the code."""
    origin, site = headers.get("Origin"), headers.get("Sec-Fetch-Site")
    if site is not None:
        foreign = site not in {"same-origin", "none"}
    else:
        foreign = origin is not None and not is_own(origin, host)
    is_visit = (
        path == "/health"
        and headers.get("Sec-Fetch-Mode") == "navigate"
        and headers.get("Sec-Fetch-Dest") == "document"
    )
    if foreign and origin not in {APP, LOCAL_APP} and not is_visit:
        return True
    signals = {"Origin", "Cookie", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest"}
    browser = signals & headers.keys() or headers.get("User-Agent", "").startswith("Mozilla/")
    name = host.lower().partition(":")[0]
    return bool(browser) and name not in {"127.0.0.1", "localhost", "log.example"}


def is_own(origin: str, host: str) -> bool:
    scheme, _, at = origin.lower().partition("://")
    ports = {"http": ":80", "https": ":443"}
    if scheme not in ports:
        return False
    with_port = [each if ":" in each else each + ports[scheme] for each in (at, host.lower())]
    return with_port[0] == with_port[1]
