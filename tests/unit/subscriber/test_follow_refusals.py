"""What following ends with, since another attempt would not change it."""

import pytest
from support.scripted import serving
from support.scripted_streams import Answer, Script, ScriptedStreams, block, event, gives, refuses
from support.tls import Authority, serving_tls

from subscriber import FollowError, FollowRefused, ReconnectPolicy, Wait, follow

SOON = ReconnectPolicy(first_wait_s=0.001, max_wait_s=0.001)


def not_waited_for(wait: Wait) -> None:
    """Fail where an error is taken for one that may pass."""
    raise AssertionError(wait)


async def no_http(answer: Answer) -> None:
    await answer.raw(b"220 mail.example.org ESMTP\r\n")


async def with_html(answer: Answer) -> None:
    await answer.begin("text/html")
    await answer.end()


async def compressed(answer: Answer) -> None:
    await answer.begin(Content_Encoding="gzip")
    await answer.end()


BAD = {"detail": "unreadable position", "errors": [{"field": "topic", "message": "bad"}]}


@pytest.mark.parametrize(
    ("script", "status", "sentence"),
    [
        (refuses(422, BAD), 422, "the answer is 422: unreadable position"),
        (refuses(404), 404, "the answer is 404: no"),
        (
            refuses(307, headers={"Location": "http://127.0.0.1:1/events"}),
            307,
            "the answer is 307: Some Phrase, moved to http://127.0.0.1:1/events",
        ),
        (refuses(204), 204, "the answer is 204: Some Phrase"),
        (
            with_html,
            200,
            "the answer is 200: not the stream of an aggregator, but text/html",
        ),
        (compressed, 200, "the answer is 200: its encoding is 'gzip', which was not asked for"),
        (
            gives("data: {}\n\n"),
            200,
            "the answer is 200: not the event of an aggregator: it has no 'topic'",
        ),
        (
            gives(event(1).replace("id: 1\n", "")),
            200,
            "the answer is 200: an event has no position",
        ),
        (gives(event(1, id="\x1b")), 200, "the answer is 200: a position has control characters"),
        (gives("id: 1\ndata: [1]\n\n"), 200, "the answer is 200: a block is no JSON object"),
        (
            gives(event(1, payload=[])),
            200,
            "the answer is 200: an event has no offset, or its payload is no object",
        ),
        (
            gives(event(1, timestamp="yesterday")),
            200,
            "the answer is 200: not the event of an aggregator: Invalid isoformat string: 'yester",
        ),
        (
            gives(block("gap", {"topic": "a", "from": 1, "to": 2, "reason": "new", "head": 3})),
            200,
            "the answer is 200: a gap has the reason 'new'",
        ),
        (
            gives(block("caught-up", {"a": "1"}, 1)),
            200,
            "the answer is 200: not the block 'caught-up' of an aggregator: '1' is no whole number",
        ),
        (no_http, None, "the answer is not HTTP: Bad status line"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
async def test_what_another_attempt_would_not_change_is_an_error(
    script: Script, status: int | None, sentence: str
) -> None:
    async with (
        ScriptedStreams.serving(script) as server,
        follow(server.url, "orders", policy=SOON, on_wait=not_waited_for) as events,
    ):
        with pytest.raises(FollowRefused) as refused:
            await anext(events)
    assert refused.value.status == status
    assert str(refused.value).startswith(sentence)


async def test_block_without_end_is_an_error_and_takes_bounded_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("subscriber.event_stream.EventStreamParser.__init__.__defaults__", (1000,))

    async def endless(answer: Answer) -> None:
        await answer.begin()
        while True:
            await answer.send("data: x" * 100)

    async with (
        ScriptedStreams.serving(endless) as server,
        follow(server.url, "orders", policy=SOON) as events,
    ):
        with pytest.raises(FollowRefused, match=r"^the answer is 200: a block has more than 1,000"):
            await anext(events)


async def test_certificate_that_does_not_verify_is_an_error() -> None:
    async with (
        serving_tls(Authority().serving("127.0.0.1")) as server,
        follow(server.url, "orders", policy=SOON) as events,
    ):
        with pytest.raises(FollowRefused, match=r"does not verify: unable to get local issuer"):
            await anext(events)


async def test_plain_server_behind_https_is_an_error() -> None:
    async with serving() as server:
        url = server.url.replace("http:", "https:")
        async with follow(url, "orders", policy=SOON) as events:
            with pytest.raises(FollowError, match=r"does not speak TLS"):
                await anext(events)
