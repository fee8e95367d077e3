"""A follower: one stream of events, from an offset of each of its topics on.

It gives what the log has, a chunk at a time. At the head it takes what the tail of a topic has
read for all, and behind it what it reads itself. Nothing is queued for a reader that is slow: what
it has not taken yet is dropped when others need the room, and read again.
"""

from aggregator.live.ends import CLIENT, CREDENTIAL, LIFETIME, StreamCut
from aggregator.live.log_chunks import Form, LogChunk, LogChunks
from aggregator.live.next_chunk import NextChunk
from aggregator.live.outlet import Outlet
from aggregator.live.pieces import with_positions
from aggregator.live.places import Place, Places
from aggregator.live.pulse import Pulse
from aggregator.live.wakeup import Wakeup
from aggregator.wire.event_encoding import escape_name
from aggregator.wire.stream_blocks import (
    HEARTBEAT,
    RETRY,
    Gap,
    caught_up_block,
    gap_block,
    position_block,
    unavailable_block,
)
from aggregator.wire.stream_position import MAX_POSITION_BYTES, position_head, render_position
from aggregator.wire.stream_query import StreamRequest
from storage.errors import StorageError

_PAUSE_S = 1.0
"""Behind a read that failed."""

_POSITION_TOO_LONG = f"its position is longer than {MAX_POSITION_BYTES} bytes"

_HEARTBEATS = {Form.BLOCKS: HEARTBEAT, Form.LINES: b"\n"}


class Follower:
    """Follows topics for one reader.

    Args:
        request: what is followed.
        form: in which events are given.
        chunks: what is behind the head is read through them.
        heartbeat_s: seconds of silence after which a sign of life is given.
        lifetime_s: seconds after which it ends.
    """

    __slots__ = (
        "_between_events", "_cut", "_due", "_half_closed", "_lead", "_next", "_one_topic",
        "_outlet", "_pulse", "_source", "_untold", "_wakeup",
        "begun", "ended", "events", "form", "gaps", "head", "places", "request",
    )  # fmt: skip

    def __init__(
        self,
        request: StreamRequest,
        form: Form,
        chunks: LogChunks,
        *,
        heartbeat_s: float,
        lifetime_s: float,
    ) -> None:
        self.request = request
        self.form = form
        self.events = 0
        """Number of events that were given."""
        self.ended: str | None = None
        """Why it ended, or is about to."""
        self.gaps: list[Gap] = []
        """What its reader asks for and is not there, which it is told first."""
        self.head: int | None = None
        """Head offset of the topic when it was opened; None of a stream of several."""
        self.begun = False
        """Whether it follows what it is to follow to begin with."""
        self._wakeup = Wakeup()
        self._next = NextChunk(form, chunks, self._wakeup)
        # Its first sign of life, with no events there, is that it has had all of them.
        self._next.from_log = True
        self._one_topic = request.topics.one_topic
        self._source = None if request.source is None else escape_name(request.source.encode())
        self._pulse = Pulse(heartbeat_s, lifetime_s, self)
        self.places = Places()
        """Its places in the topics that it follows."""
        self._between_events = True
        """Whether what was written ends with an event, or another block."""
        self._cut = False
        self._half_closed = False
        self._untold = False
        """Whether the filter has moved its position on, and its reader does not know."""
        self._due = False
        """Whether a sign of life is due, which could not be given at once."""
        self._lead = RETRY if form is Form.BLOCKS else b""
        self._outlet: Outlet | None = None

    @property
    def position(self) -> str:
        """The position behind what was given."""
        return render_position(self.places.offsets, self._one_topic)

    def close(self) -> None:
        """Have it be told nothing any more."""
        self._pulse.close()

    def advanced(self, topic: str) -> None:
        """See `TailFollower`."""
        self.places.advanced(topic)
        self._wakeup.wake()

    def failed(self, reason: str) -> None:
        """See `TailFollower`."""
        self._cut = True
        self.stop(reason)

    def stop(self, reason: str) -> None:
        """End between two events, for a reason that the log says."""
        if self.ended is None:
            self.ended = reason
            self._wakeup.wake()

    def on_end_of_life(self) -> None:
        """See `Pulsed`."""
        self.stop(LIFETIME)

    def on_silence(self) -> None:
        """See `Pulsed`."""
        # It also sleeps in the midst of an event, until what was dropped is read again.
        idle = self._wakeup.asleep and self._between_events
        if idle and not self._untold and not self._lead:
            # Without a turn of its own, which ten thousand idle streams could not have.
            try:
                if self._outlet is None or self._outlet.write(_HEARTBEATS[self.form]):
                    return
            except ConnectionError:
                self.stop(CLIENT)
                return
        self._due = True
        self._wakeup.wake()

    def client_gone(self, *, half: bool) -> None:
        """Take notice that the client sends no more.

        Args:
            half: it may still read; it is given what is there.
        """
        if half:
            self._half_closed = True
            self._wakeup.wake()
        else:
            self.stop(CLIENT)

    async def run(self, outlet: Outlet) -> None:
        """Write events until the stream ends.

        Raises:
            ConnectionError: the client is gone.
            StorageError, StreamCut: it ended, and is not whole.
        """
        self._outlet = outlet
        try:
            await self._begin()
            while self.ended is None:
                if self._due:
                    await self._tell()
                elif self.places.ready:
                    await self._give(self.places.take())
                elif self.places.owed:
                    await self._wakeup.sleep()
                elif self._next.from_log:
                    await self._catch_up()
                elif self._half_closed:
                    self.stop(CLIENT)
                else:
                    await self._wakeup.sleep()
            if self._lead:
                # It was ended before it began: its reader must be able to go on all the same.
                await self._write(position_block(self.position))
            if self.ended == CREDENTIAL and self.form is Form.BLOCKS:
                await self._write(unavailable_block(CREDENTIAL))
        finally:
            self._outlet = None
        if self._cut and self.form is Form.LINES:
            raise StreamCut(self.ended)

    async def _begin(self) -> None:
        if self.gaps and self.form is Form.LINES:
            gap = self.gaps[0]
            self.failed(f"topic {gap.topic!r} ends at {gap.head}, ahead of what is asked for")
        elif self.gaps:
            # Each id goes as far as what was told: who is cut off between them is told the rest.
            offsets = self.places.offsets | {gap.topic: gap.last for gap in self.gaps}
            for gap in self.gaps:
                offsets[gap.topic] = gap.head
                await self._write(gap_block(gap, render_position(offsets, self._one_topic)))
        elif (self.places.ready or self.places.owed) and self.form is Form.BLOCKS:
            # Reading may take its time, and who is cut off meanwhile must be able to go on.
            await self._write(position_block(self.position))

    async def _catch_up(self) -> None:
        self._next.from_log = False
        if self.form is Form.BLOCKS:
            self._untold = False
            await self._write(caught_up_block(self.places.offsets, self.position))

    async def _tell(self) -> None:
        """Give a sign of life: the position, if the reader does not know it."""
        self._due = False
        if self._untold:
            self._untold = False
            await self._write(position_block(self.position))
        else:
            await self._write(_HEARTBEATS[self.form])

    async def _give(self, place: Place) -> None:
        """Give what comes at a place, a chunk at most."""
        if place.is_behind:
            await self._fetch(place)
            if self._next.chunk is not None:
                await self._send(place)
        self.places.put_back(place)

    async def _fetch(self, place: Place) -> None:
        """Have the chunk behind a place, unless it takes longer or the store failed."""
        try:
            await self._next.fetch(place)
        except StorageError:
            # Its reader could do no more than ask again.
            await self._wakeup.sleep(_PAUSE_S)

    async def _send(self, place: Place) -> None:
        """Send a chunk; its place is behind it then, unless the stream ends between two events.

        Raises:
            StorageError: the stream is to end, and the rest of an event can't be read.
        """
        given, whole = 0, False
        try:
            while not ((self.ended and self._between_events) or whole):
                if self._next.chunk is None:
                    await self._fetch_again(place)
                else:
                    given, whole = await self._send_piece(place, self._next.chunk, given)
        finally:
            if not whole and self._next.chunk is not None:
                self.events += self._next.chunk.count_to(self._source, given)
            self._next.drop()

    async def _fetch_again(self, place: Place) -> None:
        """Have what was dropped, for its reader is slow; it begins with the same bytes."""
        if self._cut:
            # The rest of an event may be of another log by now.
            raise StreamCut(self.ended)
        if self.ended:
            await self._next.fetch(place)
        else:
            await self._fetch(place)

    async def _send_piece(self, place: Place, chunk: LogChunk, given: int) -> tuple[int, bool]:
        """Send the next piece of a chunk.

        Returns:
            The bytes of the chunk that are given then, and whether all of it was given before.
        """
        events, count = chunk.events(self._source)
        if given >= events.size:
            self.places.gave(place, chunk.last)
            self.events += count
            self._untold = self._source is not None and self.form is Form.BLOCKS
            self._check_position()
            return given, True
        piece = events.piece(given)
        after = given + len(piece)
        if self._one_topic is None:
            head = position_head(self.places.offsets, place.tail.topic).encode()
            if self._between_events and len(head) + len(str(chunk.last)) > MAX_POSITION_BYTES:
                # Its reader could not come back with the last of these ids.
                self.stop(_POSITION_TOO_LONG)
                return given, False
            piece = with_positions(piece, head, begins_event=self._between_events)
        self._between_events = piece.endswith(self.form.value)
        held = events.size if after < events.size else 0
        # What is dropped while this waits for the reader would be held by these names else.
        del chunk, events
        await self._write(piece, held=held)
        return after, False

    def _check_position(self) -> None:
        if self._one_topic is None and len(self.position) > MAX_POSITION_BYTES:
            self.stop(_POSITION_TOO_LONG)

    async def _write(self, data: bytes, *, held: int = 0) -> None:
        if self._outlet is None:
            raise RuntimeError("a stream writes while it runs, and at no other time")
        if self._lead:
            data, self._lead = self._lead + data, b""
        self._pulse.beat()
        if not self._outlet.write(data):
            await self._outlet.drained(held, self._next.drop)
