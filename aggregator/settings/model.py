"""Every setting of the server: its default, unit and bounds, in groups."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from aggregator.settings.loopback import is_loopback
from aggregator.settings.option import choice, file, option_group, text, whole_number, words
from aggregator.settings.origins import checked_host, checked_origin
from aggregator.settings.storage import StorageSettings, WrongSetting


@option_group
class Listening:
    """Where it listens, and how it ends."""

    title: ClassVar[str] = "address and end"

    host: str = text("127.0.0.1", "address to listen on", metavar="ADDRESS")
    port: int = whole_number(
        8080, "TCP port to listen on; 0 takes a free one", minimum=0, maximum=65_535
    )
    drain_timeout_ms: int = whole_number(
        10_000, "after SIGTERM or SIGINT: time for requests under way, in milliseconds"
    )


@option_group
class Tls:
    """Whether it speaks TLS, and with whom."""

    title: ClassVar[str] = "TLS"

    tls_cert: Path | None = file(
        None,
        "the certificate in PEM form, and behind it those that lead to its authority; with it the "
        "aggregator speaks TLS alone",
    )
    tls_key: Path | None = file(
        None, "the certificate's private key; not given, it is looked for behind the certificate"
    )
    tls_client_ca: Path | None = file(
        None, "authorities whose certificates clients are asked for, in PEM form"
    )
    tls_client_required: Literal["off", "on"] = choice(
        "off", lambda: ("off", "on"), "on: a client without a certificate is not served"
    )


@option_group
class AccessControl:
    """Who may do what."""

    title: ClassVar[str] = "access"

    tokens: Path | None = file(
        None,
        "the tokens file: who may publish, read and subscribe to what; without it everybody may do "
        "everything",
    )
    require_auth: Literal["off", "on"] = choice(
        "off",
        lambda: ("off", "on"),
        "on: it does not listen beyond this machine without a tokens file",
    )
    allow_origin: tuple[str, ...] = words(
        checked_origin,
        "origins whose pages may publish and read from a browser, besides its own; may be repeated",
        metavar="ORIGIN",
    )
    allowed_host: tuple[str, ...] = words(
        checked_host,
        "names by which browsers may reach it at a loopback address, besides localhost and such "
        "addresses; may be repeated",
        metavar="NAME",
    )


@option_group
class Telemetry:
    """What it says of itself."""

    title: ClassVar[str] = "logs, metrics and traces"

    log_format: Literal["auto", "json", "console"] = choice(
        "auto",
        lambda: ("auto", "json", "console"),
        "auto: console if standard output is a terminal, else json",
    )
    log_level: Literal["debug", "info", "warning", "error"] = choice(
        "info", lambda: ("debug", "info", "warning", "error"), "the least level to log"
    )
    metrics_max_topics: int = whole_number(
        100,
        "topics that /metrics counts by name; the others are counted together. And subscriptions "
        "that it has; the others are left out",
    )
    tracing: Literal["off", "otlp"] = choice(
        "off",
        lambda: ("off", "otlp"),
        "otlp: export spans with OpenTelemetry, whose own variables say where to "
        "(OTEL_EXPORTER_OTLP_ENDPOINT); needs the extra `tracing`",
    )


@option_group
class Publishes:
    """How large a publish may be."""

    title: ClassVar[str] = "publishes"

    max_body_bytes: int = whole_number(
        16 * 2**20, "largest body of a publish after decompression, in bytes"
    )
    max_batch_events: int = whole_number(10_000, "most events in one publish")
    max_payload_bytes: int = whole_number(2**20, "largest payload as sent, in bytes")
    body_timeout_ms: int = whole_number(
        60_000, "longest time to wait for all of a body, in milliseconds"
    )
    fast_path: Literal["auto", "off"] = choice(
        "auto",
        lambda: ("auto", "off"),
        "auto: publishes pass by aiohttp's request objects, if the aiohttp that is installed "
        "allows it; off: they do not, and each costs more",
    )


@option_group
class Queue:
    """How much may wait, and how much is stored at once."""

    title: ClassVar[str] = "queue and transactions"

    queue_max_events: int = whole_number(
        30_000, "events on their way at once; above it publishes are answered 503"
    )
    queue_max_bytes: int = whole_number(
        64 * 2**20, "bytes on their way at once; above it publishes are answered 503"
    )
    flush_max_events: int = whole_number(
        5_000, "events in one transaction, unless a single request has more"
    )
    flush_max_bytes: int = whole_number(
        16 * 2**20, "bytes in one transaction, unless a single request has more"
    )


@option_group
class Clients:
    """What reads and connections may take."""

    title: ClassVar[str] = "reads, answers and connections"

    max_reads: int = whole_number(
        100, "reads waiting or under way at once; above it they are answered 503"
    )
    reads_max_bytes: int = whole_number(
        128 * 2**20,
        "memory that reads under way may take, in bytes; above it they wait their turn",
    )
    max_waits: int = whole_number(
        1000, "reads with Prefer: wait and leases held at once; above it they are answered 503"
    )
    max_streams: int = whole_number(
        2000, "streamed answers at once; above it they are answered 503, an event stream by a block"
    )
    stream_heartbeat_ms: int = whole_number(
        15_000, "silence after which a stream gives a sign of life, in milliseconds"
    )
    stream_lifetime_ms: int = whole_number(
        600_000, "life of a stream that follows the log, more or less, in milliseconds"
    )
    answers_max_bytes: int = whole_number(
        64 * 2**20,
        "bytes of answers on their way at once; above it the slowest reader is cut off",
    )
    send_timeout_ms: int = whole_number(
        60_000, "longest time for a client to take an answer, in milliseconds"
    )
    idle_timeout_ms: int = whole_number(
        75_000,
        "longest time a connection waits for the whole head of a request, in milliseconds",
    )
    max_connections: int = whole_number(
        12_000, "connections at once; above it the one idle longest is ended"
    )


@option_group
class Sqlite:
    """What applies to SQLite alone."""

    title: ClassVar[str] = "SQLite"

    sqlite_busy_timeout_ms: int = whole_number(
        10_000, "how long to wait for another process that writes the file, in milliseconds"
    )
    sqlite_command_timeout_ms: int = whole_number(
        30_000, "how long SQLite and its disk may take besides, in milliseconds"
    )


@option_group
class Postgres:
    """What applies to Postgres alone."""

    title: ClassVar[str] = "Postgres"

    postgres_readers: int = whole_number(4, "Postgres connections that read, at most")
    postgres_command_timeout_ms: int = whole_number(
        30_000, "how long to wait for a Postgres statement, in milliseconds"
    )


@dataclass(frozen=True, kw_only=True)
class Settings(
    StorageSettings,
    Listening,
    Tls,
    AccessControl,
    Telemetry,
    Publishes,
    Queue,
    Clients,
    Sqlite,
    Postgres,
):
    """All that the server needs to know; see `StorageSettings`. The help shows the groups so."""

    def _check(self, dsn_origin: str) -> None:
        super()._check(dsn_origin)
        self._check_room("queue_max_events", "max_batch_events")
        self._check_room("queue_max_bytes", "max_body_bytes")
        self._check_publishers_have_connections()
        self._check_tls()
        self._check_access()

    def _check_access(self) -> None:
        if self.require_auth == "on" and self.tokens is None and not is_loopback(self.host):
            raise WrongSetting(
                "require_auth is on, and there is no tokens file: everybody who reaches "
                f"{self.host} could publish and read; name one with --tokens, or listen on "
                "127.0.0.1"
            )

    def _check_room(self, room: str, need: str) -> None:
        if getattr(self, room) < getattr(self, need):
            raise WrongSetting(
                f"{room} ({getattr(self, room)}) must be at least {need} ({getattr(self, need)}), "
                "or the largest request could never be taken"
            )

    def _check_publishers_have_connections(self) -> None:
        if 2 * (self.max_waits + self.max_streams) > self.max_connections:
            raise WrongSetting(
                f"max_waits ({self.max_waits}) and max_streams ({self.max_streams}) together must "
                f"be at most half of max_connections ({self.max_connections}), or publishers might "
                "find none free: lower the first two, or raise the last"
            )

    def _check_tls(self) -> None:
        if self.tls_key is not None and self.tls_cert is None:
            raise WrongSetting("--tls-key is of no use without --tls-cert, its certificate")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise WrongSetting(
                "--tls-client-ca asks for certificates of clients, which needs TLS: give --tls-cert"
            )
        if self.tls_client_required == "on" and self.tls_client_ca is None:
            raise WrongSetting(
                "--tls-client-required on needs --tls-client-ca, the authorities whose "
                "certificates are taken"
            )
