"""The command line: `python -m aggregator`, and its `verify` and `logs report`."""

# What a command needs is imported where it begins: half of a start is imports, and `verify` and
# `logs report` do without a server.

import signal
import sys
from io import FileIO
from typing import TYPE_CHECKING, NoReturn, TypeVar

from aggregator.log import standard_streams

if TYPE_CHECKING:
    from pydantic import ValidationError

    from aggregator.settings.model import StorageSettings

_INJECTED = (
    "Kubernetes, or a link of Docker, sets it to the address of a service called aggregator; "
    "choose the port with --port, or rename the service"
)

_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT)

AnySettings = TypeVar("AnySettings", bound="StorageSettings")

_EXAMPLE = """\
aggregator: listening on {url}, storing in {where}

  curl {url}/publish -H 'Content-Type: application/json' -d '
    {{"topic": "orders", "event_id": "e-1", "timestamp": "2026-01-31T12:00:00Z",
     "source": "shop", "payload": {{"total": 42}}}}'
  curl {url}/stats
  curl '{url}/events?topic=orders&after=0'

Ctrl-C drains and stops.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the aggregator, `verify` or `logs report`; returns the exit status, 0 if all went well.

    Args:
        arguments: the command line without the program's name; the process's if None.
    """
    try:
        return _run(sys.argv[1:] if arguments is None else arguments)
    finally:
        if (failure := standard_streams.finish()) is not None:
            _refuse(failure)


def _run(given: list[str]) -> int:
    if given[:1] == ["verify"]:
        return _verify(given[1:])
    if given[:1] == ["logs"]:
        return _report(given[1:])
    return _serve(given)


def _serve(arguments: list[str]) -> int:
    # They wait until `Shutdown` deals with them. To import all of it takes half a second, and the
    # first process of a container would not even be told of a signal that it does not handle.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING_SIGNALS)
    try:
        return _serve_until_the_end(arguments)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING_SIGNALS)


def _serve_until_the_end(arguments: list[str]) -> int:
    import structlog

    from aggregator.log import setup
    from aggregator.server.run import CannotServe, run
    from aggregator.settings.model import Settings, injected_variables

    settings = _settings(Settings, arguments)
    _need_standard_output()
    as_json = settings.log_format == "json" or (
        settings.log_format == "auto" and not sys.stdout.isatty()
    )
    # Past Python's own buffer: see LineWriter.
    stream = FileIO(sys.stdout.fileno(), "wb", closefd=False)
    writer = setup.configure(stream, as_json=as_json, level=settings.log_level)

    for name, value in injected_variables().items():
        structlog.get_logger().warning("variable_ignored", name=name, value=value, reason=_INJECTED)

    def on_listening(url: str) -> None:
        if sys.stderr.isatty():
            where = "Postgres" if settings.backend == "postgres" else str(settings.database)
            print(_EXAMPLE.format(url=url, where=where), file=sys.stderr)  # noqa: T201

    try:
        run(settings, on_listening, writer.close)
    except CannotServe as error:
        writer.close()
        _refuse(str(error))
    writer.close()
    return 0


def _verify(arguments: list[str]) -> int:
    from aggregator.commands.verify.command import CannotVerify, verify
    from aggregator.settings.model import VerifySettings
    from storage.errors import StorageError

    settings = _settings(VerifySettings, arguments)
    _need_standard_output()
    try:
        status = verify(settings)
        sys.stdout.flush()
    except (StorageError, CannotVerify) as error:
        _refuse(str(error))
    return status


def _report(arguments: list[str]) -> int:
    if arguments[:1] != ["report"]:
        _refuse("logs has one command: python -m aggregator logs report [FILE ...] [--html FILE]")
    from aggregator.commands.log_report.command import report
    from aggregator.commands.log_report.duckdb_lines import CannotReport

    _need_standard_output()
    try:
        report(arguments[1:])
    except CannotReport as error:
        _refuse(str(error))
    return 0


def _settings(kind: type[AnySettings], arguments: list[str]) -> AnySettings:
    from pydantic import ValidationError
    from pydantic_settings import CliApp, SettingsError

    try:
        return CliApp.run(kind, cli_args=arguments)
    except ValidationError as error:
        _refuse(_sentence(error))
    except SettingsError as error:
        _refuse(str(error).removeprefix("error parsing CLI: "))


def _need_standard_output() -> None:
    if sys.stdout is None:
        # Its number would be that of the next file opened, and what is printed written there.
        _refuse("standard output is closed; send it somewhere, to /dev/null for example")


def _sentence(error: "ValidationError") -> str:
    """The first wrong setting as one sentence; the value of a secret is not shown."""
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return message
    option = "--" + str(first["loc"][0]).replace("_", "-")
    shown = "" if option == "--dsn" else f", not {first['input']!r}"
    return f"{option}: {message[0].lower()}{message[1:]}{shown}"


def _refuse(sentence: str) -> NoReturn:
    standard_streams.tell(sentence)
    raise SystemExit(2)


if __name__ == "__main__":
    raise SystemExit(main())
