"""Gauges sampled at scrape time: queue, store, log."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from aggregator.ingest.admission import Admission
from aggregator.ingest.store_monitor import StoreMonitor
from aggregator.live.followers import Followers
from aggregator.live.log_chunks import LogChunks
from aggregator.live.poller import Poller
from aggregator.live.waits import Waits
from aggregator.reading.read_limit import ReadLimit
from aggregator.reading.read_memory import ReadMemory
from aggregator.reading.stream_limit import StreamLimit
from storage.model import Stats, Usage

_OF_THE_LOG = {
    "received": "Events received, of the whole log, as /stats has it.",
    "unique_processed": "Events stored, of the whole log, as /stats has it.",
    "duplicate_dropped": "Repeats dropped, of the whole log, as /stats has it.",
    "conflicts": "Repeats with other content, of the whole log, as /stats has it.",
}


def queue_families(
    admission: Admission,
    reads: ReadLimit,
    read_memory: ReadMemory,
    streams: StreamLimit,
    waits: Waits,
) -> Iterator[Metric]:
    """Return the room for publishes and for reads of every kind, and what was refused."""
    yield GaugeMetricFamily(
        "aggregator_queue_events", "Events on their way through.", admission.events
    )
    yield GaugeMetricFamily(
        "aggregator_queue_events_limit", "Above this, publishes get 503.", admission.max_events
    )
    yield GaugeMetricFamily(
        "aggregator_queue_bytes", "Bytes on their way through.", admission.bytes
    )
    yield GaugeMetricFamily(
        "aggregator_queue_bytes_limit", "Above this, publishes get 503.", admission.max_bytes
    )
    yield GaugeMetricFamily(
        "aggregator_reads", "Reads that wait or are under way.", reads.under_way
    )
    yield GaugeMetricFamily("aggregator_reads_limit", "Above this, reads get 503.", reads.max_reads)
    yield GaugeMetricFamily(
        "aggregator_read_bytes", "Memory reserved by reads under way.", read_memory.bytes
    )
    yield GaugeMetricFamily(
        "aggregator_read_bytes_limit",
        "Above this, reads wait their turn, and get 503 if it does not come.",
        read_memory.max_bytes,
    )
    yield GaugeMetricFamily("aggregator_streams", "Answers that are streamed now.", streams.open)
    yield GaugeMetricFamily(
        "aggregator_streams_limit", "Above this, streams get 503.", streams.max_streams
    )
    yield GaugeMetricFamily(
        "aggregator_waits", "Reads with Prefer: wait and leases, held now.", len(waits)
    )
    yield GaugeMetricFamily("aggregator_waits_limit", "Above this, they get 503.", waits.max_waits)
    refusals = CounterMetricFamily(
        "aggregator_refusals", "Requests refused for want of room, by what was full.", labels=["of"]
    )
    counts = {
        **admission.refused,
        "reads": reads.refused,
        "read_bytes": read_memory.refused,
        "streams": streams.refused,
        "waits": waits.refused,
    }
    for of, count in counts.items():
        refusals.add_metric([of], count)
    yield refusals


def live_families(
    streams: StreamLimit, followers: Followers, chunks: LogChunks, heads: Poller, topics: Poller
) -> Iterator[Metric]:
    """Return the streams that follow the log, and the polls by which they and waits are woken."""
    yield CounterMetricFamily(
        "aggregator_streamed_events",
        "Events that streams gave to clients.",
        streams.events + followers.events,
    )
    yield GaugeMetricFamily(
        "aggregator_following_streams", "Streams that follow the log now.", len(followers)
    )
    yield GaugeMetricFamily(
        "aggregator_stream_lag_events",
        "Events that the slowest stream that follows the log is behind its heads.",
        followers.lag,
    )
    yield GaugeMetricFamily(
        "aggregator_stream_kept_bytes", "Encoded events that streams keep for others.", chunks.bytes
    )
    for name, of, poller in (("head", "heads", heads), ("topic", "names", topics)):
        polls = CounterMetricFamily(
            f"aggregator_{name}_polls",
            f"Reads of the {of} of the topics that are waited for, by outcome.",
            labels=["outcome"],
        )
        polls.add_metric(["answered"], poller.polls)
        polls.add_metric(["failed"], poller.failures)
        yield polls


def store_families(monitor: StoreMonitor) -> Iterator[Metric]:
    """Return whether the store is in reach, and the attempts to get it back."""
    yield GaugeMetricFamily(
        "aggregator_store_available", "1 if events can be stored, else 0.", monitor.reason is None
    )
    yield CounterMetricFamily(
        "aggregator_store_retries",
        "Attempts to reach the store that failed and are made again.",
        monitor.failed_attempts,
    )


def disk_families(database: Path | None) -> Iterator[Metric]:
    """Return the free room on the file system of the SQLite file, in reach or not.

    Without a sample on Postgres (None), whose disk is another machine's, and if it can't be told.
    """
    free = None
    if database is not None:
        with suppress(OSError):
            # Beside the file itself, where its -wal is, and not beside a link to it.
            room = os.statvfs(Path(os.path.realpath(database)).parent)
            free = room.f_bavail * room.f_frsize
    yield GaugeMetricFamily(
        "aggregator_database_free_bytes", "Free room on the disk of the SQLite file.", free
    )


def log_families(stats: Stats | None, usage: Usage | None) -> Iterator[Metric]:
    """Return the log as the database has it; without samples if it can't be read (None)."""
    for field, documentation in _OF_THE_LOG.items():
        total = None if stats is None else getattr(stats.totals, field)
        yield GaugeMetricFamily(f"aggregator_log_{field}", documentation, total)
    yield GaugeMetricFamily(
        "aggregator_log_topics",
        "Topics that have an event.",
        None if stats is None else stats.topics_total,
    )
    yield GaugeMetricFamily(
        "aggregator_database_bytes",
        "The database on disk.",
        None if usage is None else usage.database_bytes,
    )
    in_use = GaugeMetricFamily(
        "aggregator_pool_connections", "Connections to the database in use.", labels=["pool"]
    )
    limit = GaugeMetricFamily(
        "aggregator_pool_connections_limit", "Connections there may be.", labels=["pool"]
    )
    for name, pool in (usage.pools if usage else {}).items():
        in_use.add_metric([name], pool.in_use)
        limit.add_metric([name], pool.max_connections)
    yield in_use
    yield limit
