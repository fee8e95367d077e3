"""The benchmark's clients that wait: they say when all of them do, and begin anew when answered."""

import asyncio
import sys
from pathlib import Path

import pytest
from support.streams import listening

sys.path.append(str(Path(__file__).parents[2]))
from benchmarks.client_result import NotServed
from benchmarks.waiting import open_waits

CONNECTIONS = 6


def answer(body: bytes, headers: str = "") -> bytes:
    """A whole answer."""
    return f"HTTP/1.1 200 OK\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Waits:
    """A server that holds its answers until an event comes; each topic has one already.

    Args:
        refusals: the number of waits that are answered 503 first.
    """

    def __init__(self, refusals: int = 0) -> None:
        self.refusals = refusals
        self.held: list[bytes] = []
        self.all_held = asyncio.Event()
        self.published = asyncio.Event()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            if b"order=desc" in head:
                writer.write(answer(b'[{"offset":1}]'))
            elif b"wait=1\r\n" in head:
                writer.write(answer(b"[]", "Preference-Applied: wait=1\r\n"))
            else:
                assert b"\r\nPrefer: wait=60\r\n" in head
                if self.refusals:
                    self.refusals -= 1
                    writer.write(answer(b"full").replace(b"200 OK", b"503 Service Unavailable"))
                    continue
                self.held.append(head.split(b" ")[1])
                if b"after=1" in head:
                    await self.published.wait()
                    writer.write(answer(b'[{"offset":2},{"offset":3}]'))
                elif len(self.held) == 2 * CONNECTIONS:
                    self.all_held.set()


async def test_waits_are_open_and_begin_anew_behind_what_came() -> None:
    server = Waits()
    async with listening(server.talk) as port:
        async with open_waits(port, CONNECTIONS, ["a", "b"]) as counts:
            first = [f"/events?topic={topic}&after=1".encode() for topic in "ab"]
            assert sorted(server.held) == sorted(first * (CONNECTIONS // 2))
            server.published.set()
            await server.all_held.wait()
            assert {target[-1:] for target in server.held[CONNECTIONS:]} == {b"3"}
            assert not counts
        assert counts == {
            "open": CONNECTIONS,
            "answered": CONNECTIONS,
            "events": 2 * CONNECTIONS,
            "refused": 0,
        }


async def test_a_server_that_does_not_confirm_a_wait_knows_none() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(answer(b"[]"))

    async with listening(talk) as port:
        with pytest.raises(NotServed, match="does not hold an answer"):
            async with open_waits(port, CONNECTIONS, ["a"]):
                pytest.fail("they do not wait")


async def test_a_wait_that_is_refused_is_begun_again_and_counted() -> None:
    server = Waits(refusals=CONNECTIONS)
    async with listening(server.talk) as port:
        async with open_waits(port, CONNECTIONS, ["a"]) as counts:
            server.published.set()
            await server.all_held.wait()
        assert counts["refused"] == CONNECTIONS
        assert counts["open"] == CONNECTIONS


async def test_a_wait_that_is_answered_with_an_error_is_no_figure() -> None:
    hung_up = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            if b"wait=60" in head:
                writer.write(answer(b"full").replace(b"200 OK", b"422 Unprocessable Content"))
                await reader.read()
                hung_up.set()
            elif b"wait=1" in head:
                writer.write(answer(b"[]", "Preference-Applied: wait=1\r\n"))
            else:
                writer.write(answer(b"[]"))

    async with listening(talk) as port:
        with pytest.raises(RuntimeError, match="has ended"):
            async with open_waits(port, CONNECTIONS, ["a"]):
                await hung_up.wait()
