"""Bodies that nobody should send: never a 500, never stored, and never anybody else's trouble."""

import gzip
import zlib

from support.events import published
from support.http import Client, MakeClient
from support.sockets import exchange, post
from support.talking import JSON, NDJSON, expect_problem, get_json, publish, read_all, send, text_of

GZIP = JSON | {"Content-Encoding": "gzip"}
GOOD = b"[" + text_of() + b"]"
PACKED = gzip.compress(GOOD)

NOT_JSON = {
    "nothing": b"",
    "white space": b" \r\n\t",
    "text": b"hello",
    "a NUL": b"\x00",
    "NULs around": b"\x00" + GOOD + b"\x00",
    "an array that ends early": GOOD[:-1],
    "an event that ends early": text_of()[:-1],
    "a string that ends early": text_of()[:20],
    "two texts": text_of() + text_of(),
    "NDJSON sent as JSON": text_of() + b"\n" + text_of(),
    "a comma too many": b"[" + text_of() + b",]",
    "a comma before": b"[," + text_of() + b"]",
    "a member's comma too many": text_of()[:-1] + b",}",
    "single quotes": text_of().replace(b'"', b"'"),
    "a comment": b"/* */" + GOOD,
    "NaN": text_of(payload='{"n": NaN}'),
    "Infinity": text_of(payload='{"n": -Infinity}'),
    "a leading zero": text_of(payload='{"n": 01}'),
    "a number that ends early": text_of(payload='{"n": 1.}'),
    "a plus sign": text_of(payload='{"n": +1}'),
    "hexadecimal": text_of(payload='{"n": 0x10}'),
    "an unknown escape": text_of(payload='{"s": "\\x41"}'),
    "an escape that ends early": text_of(payload='{"s": "\\u00"}'),
    "a raw line end in a string": text_of(payload='{"s": "\n"}'),
    "a raw NUL in a string": text_of(payload='{"s": "\x00"}'),
    "two byte order marks": b"\xef\xbb\xbf" * 2 + GOOD,
    "UTF-16": GOOD.decode().encode("utf-16"),
    "Latin-1": text_of(payload='{"s": "x"}').replace(b"x", b"\xe9"),
    "an encoded surrogate": text_of(payload='{"s": "x"}').replace(b'"x"', b'"\xed\xa0\x80"'),
    "an overlong encoding": text_of(payload='{"s": "x"}').replace(b'"x"', b'"\xc0\xaf"'),
    "beyond Unicode": text_of(payload='{"s": "x"}').replace(b'"x"', b'"\xf4\x90\x80\x80"'),
    "UTF-8 that ends early": GOOD + b"\xe2\x82",
    "brackets never closed": b"[" * 1_000_000,
    "braces never closed": b'{"a":' * 200_000,
    "brackets never opened": b"]" * 1_000_000,
    "brackets that cross": b"[{]}" * 100,
    "deep brackets that cross": b"[" * 500 + b"}" * 500,
    "deep nonsense": b"[" * 500 + b"x" + b"]" * 500,
    "quotes without end": b'"' * 999_999,
    "backslashes without end": b'"' + b"\\" * 999_999,
    "an unfinished string behind a surrogate": b'["\\ud800' + b"a" * 100_000,
    "a surrogate outside a string": b"[\\ud800]",
}
WRONG = {
    "null": b"null",
    "true": b"true",
    "a number": b"17",
    "a string": b'"event"',
    "an empty object": b"{}",
    "no events": b"[]",
    "no events in an envelope": b'{"events": []}',
    "an array in an array": b"[" + GOOD + b"]",
    "an event that is null": b"[null]",
    "events that are an object": b'{"events": ' + text_of() + b"}",
    "events that are null": b'{"events": null}',
    "an envelope with more": b'{"events": ' + GOOD + b', "more": 1}',
    "an envelope with more before": b'{"more": 1, "events": ' + GOOD + b"}",
    "events twice": b'{"events": ' + GOOD + b', "events": ' + GOOD + b"}",
    "an envelope in an envelope": b'{"events": {"events": ' + GOOD + b"}}",
    "deep and valid": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
}
BROKEN_GZIP = {
    "nothing": b"",
    "not gzip": GOOD,
    "zlib": zlib.compress(GOOD),
    "raw deflate": zlib.compress(GOOD, wbits=-15),
    "a header alone": PACKED[:10],
    "cut short by a byte": PACKED[:-1],
    "cut in half": PACKED[: len(PACKED) // 2],
    "a wrong checksum": PACKED[:-8] + bytes(4) + PACKED[-4:],
    "a wrong length": PACKED[:-4] + bytes(4),
    "a byte behind the end": PACKED + b"\x00",
    "text behind the end": PACKED + b"hello",
    "half a member behind the end": PACKED + PACKED[:-5],
    "gzip of nothing": gzip.compress(b""),
    "twice": gzip.compress(PACKED),
}
HEADERS = {
    "two encodings": ({**JSON, "Content-Encoding": "gzip, gzip"}, 415),
    "deflate": ({**JSON, "Content-Encoding": "deflate"}, 415),
    "br": ({**JSON, "Content-Encoding": "br"}, 415),
    "gzip and identity": ({**JSON, "Content-Encoding": "identity, gzip"}, 415),
    "a form": ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    "plain text": ({"Content-Type": "text/plain"}, 415),
    "a made-up media type": ({"Content-Type": "application/json-seq"}, 415),
    "no media type at all": ({"Content-Type": ";"}, 415),
    "Latin-1": ({"Content-Type": "application/json; charset=latin-1"}, 415),
    "UTF-16": ({"Content-Type": "application/x-ndjson; charset=utf-16"}, 415),
}


async def test_a_hostile_corpus_is_answered_with_the_statuses_of_the_contract(
    client: Client,
) -> None:
    corpus = [
        *((f"not JSON: {name}", body, JSON, 400) for name, body in NOT_JSON.items()),
        *((f"wrong: {name}", body, JSON, 422) for name, body in WRONG.items()),
        *((f"gzip: {name}", body, GZIP, 400) for name, body in BROKEN_GZIP.items()),
        *(
            (f"headers: {name}", GOOD, headers, status)
            for name, (headers, status) in HEADERS.items()
        ),
        ("NDJSON: a line that is not JSON", text_of() + b"\nx", NDJSON, 400),
        ("NDJSON: an array", GOOD, NDJSON, 422),
        ("NDJSON: blank lines alone", b"\n\n \n", NDJSON, 422),
        ("NDJSON: nothing", b"", NDJSON, 400),
        ("NDJSON: one event on two lines", text_of().replace(b",", b",\n"), NDJSON, 400),
        ("NDJSON: not UTF-8", text_of() + b"\n\xff", NDJSON, 400),
    ]
    found: dict[str, int] = {}
    for number, (name, body, headers, status) in enumerate(corpus):
        response = await send(client, body, headers)
        await expect_problem(response, response.status)
        found[name] = response.status
        assert found[name] == status, name
        # Nothing of it is stored, and nobody else is in trouble for it.
        answer = await publish(client, published(event_id=f"good-{number}"))
        assert answer["results"][0]["offset"] == number + 1, name
    assert len(found) == len(corpus)
    assert (await get_json(client, "/stats"))["received"] == len(corpus)


async def test_a_gzip_bomb_is_refused_while_it_is_read(make_client: MakeClient) -> None:
    client = await make_client(max_body_bytes=100_000)
    bomb = gzip.compress(bytes(100_000_000))
    assert len(bomb) < 100_000
    await expect_problem(await send(client, bomb, GZIP), 413)
    many = gzip.compress(bytes(1000)) * 1000
    await expect_problem(await send(client, many, GZIP), 413)
    nothing = gzip.compress(b"") * 20_000
    await expect_problem(await send(client, nothing, GZIP), 413)
    await publish(client, published())


async def test_announced_gigabyte_is_refused_without_reading(client: Client) -> None:
    for encoding in ("identity", "gzip"):
        announced = post(b"", Content_Length=str(2**30), Content_Encoding=encoding)
        answer = await exchange(client, announced)
        assert (answer.status, answer.content_type) == (413, "application/problem+json")
    await publish(client, published())


async def test_invalid_content_length_is_400(client: Client) -> None:
    for length in ("-1", "x", "1e3", "9" * 100):
        answer = await exchange(client, post(GOOD, Content_Length=length))
        assert answer.status in {400, 413}, length
    await publish(client, published())


async def test_malformed_chunks_are_400(client: Client) -> None:
    head = b"POST /publish HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
    for chunks in (b"ZZ\r\n\r\n", b"2\r\n[]\r\nXX\r\n\r\n", b"2\r\n[][\r\n0\r\n\r\n"):
        answer = await exchange(client, head + chunks)
        assert answer.status == 400, chunks
    await publish(client, published())


async def test_undecodable_headers_are_no_internal_error(client: Client) -> None:
    bytes_ff = "\udcff"
    sent = {
        "Content-Type": 415,
        "Content-Encoding": 415,
        "Prefer": 200,
        "X-Request-ID": 200,
        "Accept": 200,
    }
    for name, status in sent.items():
        answer = await exchange(client, post(GOOD, **{name: f"a{bytes_ff}b"}))
        assert answer.status == status, name
    assert [e["event_id"] for e in await read_all(client)] == ["e-1"]


async def test_header_built_for_backtracking_is_parsed_quickly(client: Client) -> None:
    # Quadratic reading of 8 kB takes no time; cubic takes longer than a test may.
    for prefer in ("a;" * 2000 + " " * 4000 + '"', "a" * 8000 + '"', '"\\' * 4000):
        response = await client.post("/publish", json=published(), headers={"Prefer": prefer})
        assert response.status == 200
    response = await send(client, GOOD, {"Content-Type": 'application/json; x="' + ";" * 8000})
    assert response.status in {200, 415}
