"""Reads within the memory that reads may hold."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from msgspec.structs import replace

from aggregator.reading.read_memory import ReadMemory
from aggregator.wire.event_encoding import encode_objects
from aggregator.wire.responses import events_answer
from storage.errors import PayloadOverLimit
from storage.model import Page, Query
from storage.protocols import EventReader
from storage.reading.page_fetch import page_memory_bytes

EXPECTED_PAYLOAD_BYTES = 2**20
"""A read reserves memory for payloads of this size, and begins anew if it meets a larger one."""

_Read = TypeVar("_Read")
_Result = TypeVar("_Result")


async def read_bounded(
    memory: ReadMemory,
    memory_bytes: Callable[[int], int],
    read: Callable[[int], Awaitable[_Read]],
    convert: Callable[[_Read], Awaitable[_Result]],
) -> _Result:
    """Read once the memory for it is free.

    Args:
        memory: the memory of all reads.
        memory_bytes: returns the bytes that it needs at most, for payloads up to so many bytes.
        read: the read, which fetches no larger payloads.
        convert: makes the result; the memory is held meanwhile.

    Raises:
        QueueFull: the memory did not become free in time.
    """
    max_payload_bytes = EXPECTED_PAYLOAD_BYTES
    while True:
        async with memory.reserve(memory_bytes(max_payload_bytes)):
            try:
                found = await read(max_payload_bytes)
            except PayloadOverLimit as error:
                max_payload_bytes = error.payload_bytes
            else:
                return await convert(found)


async def read_array(store: EventReader, memory: ReadMemory, query: Query) -> Page[bytes]:
    """Read a page whose parts, one behind the other, are a JSON array.

    Args:
        store: what is read.
        memory: the memory of all reads.
        query: the page.

    Raises:
        QueueFull: the memory did not become free in time.
    """

    async def as_array(page: Page[bytes]) -> Page[bytes]:
        return replace(page, parts=events_answer(page))

    return await read_bounded(
        memory,
        lambda size: page_memory_bytes(query.limit, query.max_bytes, size),
        lambda size: store.read(replace(query, max_payload_bytes=size), encode_objects),
        as_array,
    )
