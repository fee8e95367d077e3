"""Every setting: its type, unit, default and environment variable, checked at start."""

import os
import re
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, SecretStr, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from aggregator.settings.dsn import fault_of

Positive = Annotated[int, Field(ge=1)]

_PREFIX = "AGGREGATOR_"
_SERVICE_ADDRESS = re.compile("(?:tcp|udp|sctp)://")

_LONGEST_NAME_BYTES = 63
"""Postgres cuts off what is longer."""


class Dsn(SecretStr):
    """A connection URI; its password is never shown."""


def injected_variables() -> dict[str, str]:
    """The environment variables named like a setting that hold the address of a service.

    Kubernetes puts AGGREGATOR_PORT=tcp://10.96.0.12:8080 into every container when there is a
    Service called aggregator, and so does a link of Docker. Of all the names that they make,
    AGGREGATOR_PORT alone is that of a setting.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if name.upper() == f"{_PREFIX}PORT" and _SERVICE_ADDRESS.match(value)
    }


class _Environment(EnvSettingsSource):
    """The environment without what was put there for another purpose."""

    def __call__(self) -> dict[str, Any]:
        injected = {name.upper().removeprefix(_PREFIX).lower() for name in injected_variables()}
        return {name: value for name, value in super().__call__().items() if name not in injected}


with warnings.catch_warnings():
    # Of pydantic's own method of this name, which is deprecated and not used here.
    warnings.filterwarnings("ignore", 'Field name "schema"', UserWarning)

    class _WithSchema(BaseSettings):
        schema: str | None = Field(  # type: ignore[assignment]
            None,
            description="the Postgres schema that has the log, or is to have it; it is made if "
            "there is none (default: the first of the role's search_path)",
        )


class StorageSettings(_WithSchema):
    """The settings that name a database."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_ignore_empty=True,
        cli_prog_name="python -m aggregator",
        cli_kebab_case=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        cli_exit_on_error=False,
        extra="ignore",
    )

    backend: Literal["auto", "sqlite", "postgres"] = Field(
        "auto", description="where events are stored; auto: postgres if a DSN is given, else sqlite"
    )
    database: Path = Field(Path("aggregator.db"), description="the SQLite file")
    dsn: Dsn | None = Field(
        None, description="the Postgres database: postgresql://user:password@host:port/name"
    )
    _dsn_is_database_url: bool = PrivateAttr(default=False)

    @field_validator("schema")
    @classmethod
    def _check_schema(cls, name: str | None) -> str | None:
        if name is not None:
            if not 0 < len(name.encode()) <= _LONGEST_NAME_BYTES or "\0" in name:
                raise ValueError(f"a schema has a name of 1 to {_LONGEST_NAME_BYTES} bytes")
            if name.startswith("pg_") or name == "information_schema":
                raise ValueError("this schema belongs to Postgres itself")
        return name

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - replaced
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """See pydantic-settings; the environment is read through `_Environment`."""
        return init_settings, _Environment(settings_cls), dotenv_settings, file_secret_settings

    @model_validator(mode="after")
    def _choose_backend(self) -> Self:
        self._understand_database_url()
        if self.backend == "auto":
            if self.dsn is not None and "database" in self.model_fields_set:
                raise ValueError("both a DSN and a database file are given; choose with --backend")
            self.backend = "postgres" if self.dsn is not None else "sqlite"
        if self.backend == "postgres":
            self._check_dsn()
        elif self.schema is not None:
            raise ValueError("--schema is of a Postgres database, and no DSN is given")
        elif str(self.database).startswith(":memory:"):
            raise ValueError("--database :memory: would lose every event; give a file")
        return self

    def _understand_database_url(self) -> None:
        url = os.environ.get("DATABASE_URL", "")
        if not url or {"dsn", "database"} & self.model_fields_set:
            return
        if url.startswith("sqlite:///"):
            if self.backend != "postgres":
                self.database = Path(url.removeprefix("sqlite:///"))
        elif self.backend != "sqlite":
            self.dsn = Dsn(url)
            self._dsn_is_database_url = True

    def _check_dsn(self) -> None:
        if self.dsn is None:
            raise ValueError("the backend postgres needs --dsn (or AGGREGATOR_DSN, DATABASE_URL)")
        fault = fault_of(self.dsn.get_secret_value())
        if fault is not None:
            raise ValueError(f"the DSN in {self._where_dsn_is()} {fault}")

    def _where_dsn_is(self) -> str:
        if self._dsn_is_database_url:
            return "DATABASE_URL"
        variables = {name.upper(): value for name, value in os.environ.items()}
        given = self.dsn.get_secret_value() if self.dsn is not None else ""
        return "AGGREGATOR_DSN" if variables.get("AGGREGATOR_DSN") == given else "--dsn"


class VerifySettings(StorageSettings):
    """Recount everything from the rows, in one snapshot of a database that may be in use:
    conservation, uniqueness, dense offsets, counts per topic, and rows that the aggregator can't
    have written. Prints a table. Never writes.

    Exit status: 0 if all agrees, 1 with the differences, 2 if it can't be done. Each option can
    also be given in the environment, as for the aggregator: AGGREGATOR_DATABASE, AGGREGATOR_DSN,
    DATABASE_URL.
    """

    model_config = SettingsConfigDict(cli_prog_name="python -m aggregator verify")


class Settings(StorageSettings):
    """A pub-sub log aggregator with an idempotent consumer: POST /publish stores every event
    exactly once per (topic, event_id), durably; GET /events and GET /stats read.

    Each option can also be given in the environment: --queue-max-events as
    AGGREGATOR_QUEUE_MAX_EVENTS, and so on. The command line wins. DATABASE_URL stands in for
    a DSN (postgresql://...) or a database file (sqlite:///...) that is not given.

    With `verify` as the first argument it recounts a database instead of serving, with `logs
    report` it says what its logs hold; see `python -m aggregator verify --help` and
    `python -m aggregator logs report --help`.
    """

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8080, ge=0, le=65535, description="TCP port to listen on; 0 takes a free one")

    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="auto: console if standard output is a terminal, else json"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="the least level to log"
    )

    tracing: Literal["off", "otlp"] = Field(
        "off",
        description="otlp: export spans with OpenTelemetry, whose own variables say where to "
        "(OTEL_EXPORTER_OTLP_ENDPOINT); needs the extra `tracing`",
    )

    fast_path: Literal["auto", "off"] = Field(
        "auto",
        description="auto: publishes pass by aiohttp's request objects, if the aiohttp that is "
        "installed allows it; off: they do not, and each costs more",
    )

    max_body_bytes: Positive = Field(
        16 * 2**20, description="largest body of a publish after decompression, in bytes"
    )
    max_batch_events: Positive = Field(10_000, description="most events in one publish")
    max_payload_bytes: Positive = Field(2**20, description="largest payload as sent, in bytes")
    body_timeout_ms: Positive = Field(
        60_000, description="longest time to wait for all of a body, in milliseconds"
    )
    queue_max_events: Positive = Field(
        30_000, description="events on their way at once; above it publishes are answered 503"
    )
    queue_max_bytes: Positive = Field(
        64 * 2**20, description="bytes on their way at once; above it publishes are answered 503"
    )
    flush_max_events: Positive = Field(
        5_000, description="events in one transaction, unless a single request has more"
    )
    flush_max_bytes: Positive = Field(
        16 * 2**20, description="bytes in one transaction, unless a single request has more"
    )
    max_reads: Positive = Field(
        100, description="reads waiting or under way at once; above it they are answered 503"
    )
    reads_max_bytes: Positive = Field(
        128 * 2**20,
        description="memory that reads under way may take, in bytes; above it they wait their turn",
    )
    answers_max_bytes: Positive = Field(
        64 * 2**20,
        description="bytes of answers on their way at once; above it the slowest reader is cut off",
    )
    send_timeout_ms: Positive = Field(
        60_000, description="longest time for a client to take an answer, in milliseconds"
    )
    metrics_max_topics: Positive = Field(
        100, description="topics that /metrics counts by name; the others are counted together"
    )
    idle_timeout_ms: Positive = Field(
        75_000,
        description="longest time a connection waits for the whole head of a request, "
        "in milliseconds",
    )
    max_connections: Positive = Field(
        12_000, description="connections at once; above it the one idle longest is ended"
    )
    drain_timeout_ms: Positive = Field(
        10_000,
        description="after SIGTERM or SIGINT: time for requests under way, in milliseconds",
    )
    sqlite_busy_timeout_ms: Positive = Field(
        10_000,
        description="how long to wait for another process that writes the file, in milliseconds",
    )
    sqlite_command_timeout_ms: Positive = Field(
        30_000,
        description="how long SQLite and its disk may take besides, in milliseconds",
    )
    postgres_readers: Positive = Field(4, description="Postgres connections that read, at most")
    postgres_command_timeout_ms: Positive = Field(
        30_000, description="how long to wait for a Postgres statement, in milliseconds"
    )

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        self._check_room("queue_max_events", "max_batch_events")
        self._check_room("queue_max_bytes", "max_body_bytes")
        return self

    def _check_room(self, room: str, need: str) -> None:
        if getattr(self, room) < getattr(self, need):
            raise ValueError(
                f"{room} ({getattr(self, room)}) must be at least {need} ({getattr(self, need)}), "
                "or the largest request could never be taken"
            )
