"""The same bytes get the same answer, whichever way a publish goes: status, headers and body."""

import gzip
import json
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import pytest
from support.events import published
from support.served import Served, serving_in_a_thread

LIMIT_S = 30.0
ONE = json.dumps(published()).encode()
MANY = json.dumps([published(event_id=f"e-{n % 4}") for n in range(6)]).encode()
BAD = json.dumps([published(), published(topic="no topic"), published(event_id="")]).encode()
LINES = b"\n".join([ONE, b"", json.dumps(published(topic="other")).encode(), b"{"])


def head(*lines: bytes, body: bytes = ONE, target: bytes = b"/publish") -> bytes:
    """A publish whose head has these lines and no others but `Host`."""
    first = b"POST " + target + b" HTTP/1.1"
    return b"\r\n".join([first, b"Host: x", *lines, b"", body])


def with_length(*lines: bytes, body: bytes = ONE, target: bytes = b"/publish") -> bytes:
    return head(*lines, b"Content-Length: %d" % len(body), body=body, target=target)


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n", lines: tuple[bytes, ...] = ()) -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head(b"Transfer-Encoding: chunked", *lines, body=body + end)


PUBLISH = with_length()
REQUESTS = {
    # Bodies.
    "one": PUBLISH,
    "many": with_length(body=MANY),
    "invalid": with_length(body=BAD),
    "no JSON": with_length(body=b"{"),
    "nothing": with_length(body=b""),
    "no length": head(body=b""),
    "over 64 KiB": with_length(body=ONE + b" " * 70_000),
    # Content-Length.
    "length with zeros": head(b"Content-Length: 000%d" % len(ONE)),
    "length with spaces": head(b"Content-Length:   %d \t" % len(ONE)),
    "length without space": head(b"content-length:%d" % len(ONE)),
    "length with a sign": head(b"Content-Length: +%d" % len(ONE)),
    "length of another base": head(b"Content-Length: 0x10"),
    "negative length": head(b"Content-Length: -1"),
    "empty length": head(b"Content-Length: "),
    "length too large to be": head(b"Content-Length: " + b"9" * 30),
    "lengths that differ": head(b"Content-Length: 2", b"Content-Length: %d" % len(ONE)),
    "the same length twice": head(*[b"Content-Length: %d" % len(ONE)] * 2),
    "a list of lengths": head(b"Content-Length: %d, %d" % (len(ONE), len(ONE))),
    # Transfer-Encoding.
    "chunked": chunked(ONE),
    "in several chunks": chunked(ONE[:5], ONE[5:]),
    "chunked with trailers": chunked(ONE, end=b"0\r\nX-Sum: 1\r\n\r\n"),
    "chunked with an extension": head(
        b"Transfer-Encoding: chunked", body=b"%x;a=b\r\n%b\r\n0\r\n\r\n" % (len(ONE), ONE)
    ),
    "chunked in capitals": head(
        b"Transfer-Encoding: CHUNKED", body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(ONE), ONE)
    ),
    "chunked and length": chunked(ONE, lines=(b"Content-Length: 5",)),
    "chunked twice": head(b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"),
    "gzip, chunked": head(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "another coding": head(b"Transfer-Encoding: gzip", body=b""),
    "a bad chunk": head(b"Transfer-Encoding: chunked", body=b"zz\r\n"),
    # Expect.
    "100-continue": with_length(b"Expect: 100-continue"),
    "100-Continue": with_length(b"expect: 100-Continue"),
    "another expectation": with_length(b"Expect: anything"),
    "two expectations": with_length(b"Expect: 100-continue, anything"),
    "an expectation twice": with_length(b"Expect: 100-continue", b"Expect: anything"),
    "an empty expectation": with_length(b"Expect: "),
    "an expectation of HTTP/1.0": with_length(b"Expect: anything").replace(b"P/1.1", b"P/1.0"),
    # Connection, Upgrade.
    "close": with_length(b"Connection: close"),
    "Close": with_length(b"connection: Close"),
    "keep-alive": with_length(b"Connection: keep-alive"),
    "keep-alive and close": with_length(b"Connection: keep-alive, close"),
    "a connection option": with_length(b"Connection: X-Request-ID", b"X-Request-ID: r-1"),
    "Keep-Alive": with_length(b"Keep-Alive: timeout=5"),
    "a proxy's connection": with_length(b"Proxy-Connection: close"),
    "websocket": with_length(b"Connection: upgrade", b"Upgrade: websocket"),
    "h2c": with_length(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c",
                       b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"),
    "an upgrade without connection": with_length(b"Upgrade: websocket"),
    # Versions.
    "HTTP/1.0": PUBLISH.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "HTTP/1.0 that goes on": with_length(b"Connection: keep-alive").replace(b"P/1.1", b"P/1.0"),
    "HTTP/1.0 without a host": PUBLISH.replace(b"HTTP/1.1\r\nHost: x", b"HTTP/1.0"),
    "HTTP/1.2": PUBLISH.replace(b"HTTP/1.1", b"HTTP/1.2"),
    "HTTP/2.0": PUBLISH.replace(b"HTTP/1.1", b"HTTP/2.0"),
    "HTTP/11": PUBLISH.replace(b"HTTP/1.1", b"HTTP/11"),
    "no version": PUBLISH.replace(b" HTTP/1.1", b""),
    # Hosts.
    "no host": PUBLISH.replace(b"Host: x\r\n", b""),
    "two hosts": with_length(b"Host: y"),
    "an empty host": PUBLISH.replace(b"Host: x", b"Host: "),
    "a host that is none": PUBLISH.replace(b"Host: x", b"Host: a b:c"),
    # Targets.
    "a query": with_length(target=b"/publish?"),
    "a longer query": with_length(target=b"/publish?topic=a&x=%zz"),
    "a fragment": with_length(target=b"/publish#x"),
    "percent-encoded": with_length(target=b"/%70ublish"),
    "a percent sign": with_length(target=b"/publish%"),
    "a slash behind": with_length(target=b"/publish/"),
    "a slash behind, encoded": with_length(target=b"/publish%2F"),
    "two slashes": with_length(target=b"//publish"),
    "dots": with_length(target=b"/./publish"),
    "in capitals": with_length(target=b"/PUBLISH"),
    "absolute": with_length(target=b"http://x/publish"),
    "absolute, elsewhere": with_length(target=b"https://elsewhere:1/publish?a"),
    "absolute, none": with_length(target=b"http:///publish"),
    "an asterisk": with_length(target=b"*"),
    "no slash": with_length(target=b"publish"),
    "not ASCII": with_length(target="/publish/é".encode()),
    "no UTF-8": with_length(target=b"/publish\xff"),
    "a parameter": with_length(target=b"/publish;a=b"),
    # Methods.
    **{
        method.decode(): PUBLISH.replace(b"POST", method, 1)
        for method in (b"GET", b"HEAD", b"OPTIONS", b"PUT", b"PATCH", b"DELETE", b"TRACE",
                       b"PROPFIND", b"QUERY", b"post", b"NOPE", b"CONNECT")
    },
    # What the headers say of the body.
    "JSON": with_length(b"Content-Type: application/json"),
    "JSON with a charset": with_length(b"Content-Type: application/json; charset=UTF-8"),
    "another charset": with_length(b"Content-Type: application/json; charset=latin-1"),
    "another type": with_length(b"Content-Type: text/plain"),
    "no type": with_length(b"Content-Type: "),
    "two types": with_length(b"Content-Type: application/json", b"Content-Type: text/plain"),
    "the other of two types": with_length(b"Content-Type: text/plain",
                                          b"Content-Type: application/json"),
    "lines": with_length(b"Content-Type: application/x-ndjson", body=LINES),
    "lines, lenient": with_length(b"Content-Type: application/x-ndjson",
                                  b"Prefer: handling=lenient", body=LINES),
    "gzip": with_length(b"Content-Encoding: gzip", body=gzip.compress(ONE)),
    "GZIP": with_length(b"content-encoding: GZIP", body=gzip.compress(ONE)),
    "identity": with_length(b"Content-Encoding: identity"),
    "br": with_length(b"Content-Encoding: br"),
    "gzip twice": with_length(b"Content-Encoding: gzip", b"Content-Encoding: gzip",
                              body=gzip.compress(gzip.compress(ONE))),
    "identity and gzip": with_length(b"Content-Encoding: identity", b"Content-Encoding: gzip",
                                     body=gzip.compress(ONE)),
    "minimal": with_length(b"Prefer: return=minimal", body=MANY),
    "lenient": with_length(b"Prefer: handling=lenient", body=BAD),
    "preferences on two lines": with_length(b"Prefer: return=minimal", b"Prefer: handling=lenient",
                                            body=BAD),
    "a preference twice": with_length(b"Prefer: return=minimal, return=representation"),
    # Other headers.
    "an id": with_length(b"X-Request-ID: r-1"),
    "two ids": with_length(b"X-Request-ID: r-1", b"X-Request-ID: r-2"),
    "an id in lower case": with_length(b"x-request-id: r-1"),
    "a header that is folded": with_length(b"X-A: b\r\n c"),
    "a header without a name": with_length(b": b"),
    "a header without a colon": with_length(b"X-A"),
    "a space before a colon": with_length(b"X-A : b"),
    "a header that is not ASCII": with_length("X-A: é".encode()),
    "a zero byte": with_length(b"X-A: \0"),
    "a long header": with_length(b"X-A: " + b"b" * 8_000),
    "too long a header": with_length(b"X-A: " + b"b" * 9_000),
    "many headers": with_length(*[b"X-%d: 1" % n for n in range(100)]),
    "too many headers": with_length(*[b"X-%d: 1" % n for n in range(200)]),
    "a line feed alone": PUBLISH.replace(b"\r\n", b"\n"),
    "accepts nothing": with_length(b"Accept: nothing/at-all"),
    "accepts compression": with_length(b"Accept-Encoding: gzip, br"),
    "a range": with_length(b"Range: bytes=0-3"),
    "a condition": with_length(b"If-None-Match: *"),
    "another origin": with_length(b"Origin: http://elsewhere"),
    "a method override": with_length(b"X-HTTP-Method-Override: GET"),
    # Several on a connection.
    "empty lines first": b"\r\n\r\n" + PUBLISH,
    "two": PUBLISH * 2,
    "publish, refused, publish": PUBLISH + with_length(body=b"{") + PUBLISH,
    "one behind the last": with_length(b"Connection: close") + PUBLISH,
    "one behind what is no HTTP": PUBLISH + b"what\r\n\r\n" + PUBLISH,
    "expectation, publish": with_length(b"Expect: anything") + PUBLISH,
}  # fmt: skip


class Answer(NamedTuple):
    """One answer, without what differs from request to request."""

    status_line: str
    headers: list[tuple[str, str]]
    body: str


@pytest.fixture(scope="module")
def servers(
    tmp_path_factory: pytest.TempPathFactory, processes: None
) -> Iterator[tuple[Served, Served]]:
    """One with the short way, and one without."""
    with (
        serving_in_a_thread(tmp_path_factory.mktemp("short"), None) as short,
        serving_in_a_thread(tmp_path_factory.mktemp("usual"), None, fast_path="off") as usual,
    ):
        yield short, usual


def answers(server: Served, request: bytes) -> list[Answer]:
    """All answers on a connection whose other side is ended behind the request."""
    assert server.port is not None
    with closing(socket.create_connection(("127.0.0.1", server.port), LIMIT_S)) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        got = b""
        while data := client.recv(1 << 20):
            got += data
    return list(split(got.decode("latin-1"), has_id=b"r-1" in request))


def split(text: str, *, has_id: bool) -> Iterator[Answer]:
    while text:
        top, _, rest = text.partition("\r\n\r\n")
        status_line, *lines = top.split("\r\n")
        pairs = [(name.lower(), value.strip()) for name, _, value in (li.partition(":")
                 for li in lines)]  # fmt: skip
        size = 0 if " 100 " in status_line else int(dict(pairs).get("content-length", "0"))
        changing = {"date"} if has_id else {"date", "x-request-id"}
        shown = sorted((name, "" if name in changing else value) for name, value in pairs)
        yield Answer(status_line, shown, rest[:size])
        text = rest[size:]


@pytest.mark.parametrize("name", REQUESTS)
def test_the_answer_does_not_depend_on_the_way(servers: tuple[Served, Served], name: str) -> None:
    short, usual = (answers(server, REQUESTS[name]) for server in servers)
    assert short == usual
    assert short, "it is answered"


def test_the_ways_are_two(servers: tuple[Served, Served]) -> None:
    """Else there would be nothing to compare."""
    before = [server.requests for server in servers]
    for server in servers:
        assert [answer.status_line for answer in answers(server, PUBLISH)] == ["HTTP/1.1 200 OK"]
    assert [server.requests for server in servers] == [before[0], before[1] + 1]
