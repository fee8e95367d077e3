"""The command line: `aggregator`, or `python -m aggregator`, with its commands."""

# What a command needs is imported where it begins: half of a start is imports, and the other
# commands do without a server.

import gc
import os
import signal
import sys
from collections.abc import Iterator
from io import FileIO
from typing import NoReturn

from aggregator.logging import standard_streams
from aggregator.settings.command_line import (
    PROGRAM,
    Parser,
    WrongCommandLine,
    program_name,
    read_settings,
)
from aggregator.settings.environment import injected_variables, unknown_variables
from aggregator.settings.storage import WrongSetting

_INJECTED = (
    "Kubernetes, or a link of Docker, sets it to the address of a service called aggregator; "
    "choose the port with --port, or rename the service"
)

_CERTIFICATES = "SSL_CERT_FILE"
"""By this variable OpenSSL is told the file of the authorities that it trusts."""

_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_DESCRIPTION = """\
A pub-sub log aggregator with an idempotent consumer: POST /publish stores every event
exactly once per (topic, event_id), durably; GET /events and GET /stats read.

Each option can also be given in the environment: --queue-max-events as
AGGREGATOR_QUEUE_MAX_EVENTS, and so on. The command line wins. DATABASE_URL stands in for
a DSN (postgresql://...) or a database file (sqlite:///...) that is not given.

commands:
  serve        take, store and show events; what is meant if no command is named
  verify       recount a database, see `{program} verify --help`
  logs report  show what the logs hold, see `{program} logs report --help`
  token new    make a token and its entry in the tokens file, see `{program} token new --help`
  token check  say what a token allows, see `{program} token check --help`
"""

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
    """Run a command: `serve` is meant if none is named.

    Args:
        arguments: the command line without the program's name; None: the process's.

    Returns:
        The exit status, 0 if all went well.
    """
    program = PROGRAM if arguments is not None else program_name()
    try:
        return _run(program, sys.argv[1:] if arguments is None else arguments)
    except (WrongCommandLine, WrongSetting) as error:
        _refuse(str(error))
    finally:
        if (failure := standard_streams.finish()) is not None:
            _refuse(failure)


def _run(program: str, given: list[str]) -> int:
    name = given[0] if given else ""
    if name in _COMMANDS:
        return _COMMANDS[name](program, given[1:])
    if name and not name.startswith("-"):
        raise WrongCommandLine(
            f"{name!r} is no command; there are serve, verify, logs report, token new and token "
            f"check (see {program} --help)"
        )
    return _serve(program, given)


def _serve(program: str, arguments: list[str]) -> int:
    # They wait until `Shutdown` deals with them. To import all of it takes a while, and the first
    # process of a container would not even be told of a signal that it does not handle.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING_SIGNALS)
    # It asks for files to be read again, which `Reloads` does, and is no reason to end.
    on_hangup = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        return _serve_until_the_end(program, arguments)
    finally:
        signal.signal(signal.SIGHUP, on_hangup)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING_SIGNALS)


def _serve_until_the_end(program: str, arguments: list[str]) -> int:
    from aggregator.settings.model import Settings

    usage = (
        f"[serve] [OPTION ...]\n       {program} verify [OPTION ...]\n"
        f"       {program} logs report [FILE ...] [--html FILE]\n"
        f"       {program} token new|check [OPTION ...]"
    )
    parser = Parser(program, usage=usage, description=_DESCRIPTION.format(program=program))
    settings = read_settings(Settings, parser, arguments)
    _need_standard_output()

    # What is imported stays, so there is nothing to collect until it is there.
    gc.disable()
    _import_aiohttp()
    import structlog

    from aggregator.logging import setup
    from aggregator.server.run import CannotServe, run

    gc.enable()
    as_json = settings.log_format == "json" or (
        settings.log_format == "auto" and not sys.stdout.isatty()
    )
    # Past Python's own buffer: see LineWriter.
    stream = FileIO(sys.stdout.fileno(), "wb", closefd=False)
    writer = setup.configure(stream, as_json=as_json, level=settings.log_level)

    log = structlog.get_logger()
    for name, value in injected_variables(os.environ).items():
        log.warning("variable_ignored", name=name, value=value, reason=_INJECTED)
    for name, reason in _unknown_variables():
        log.warning("variable_unknown", name=name, reason=reason)

    def on_listening(url: str) -> None:
        if sys.stderr.isatty():
            where = settings.chosen_backend.place(settings)
            print(_EXAMPLE.format(url=url, where=where), file=sys.stderr)  # noqa: T201

    try:
        run(settings, on_listening, writer.close)
    except CannotServe as error:
        writer.close()
        _refuse(str(error))
    writer.close()
    return 0


def _import_aiohttp() -> None:
    """Import aiohttp without having its client trust anybody.

    As it is imported, aiohttp makes the TLS contexts of its client and reads the certificates of
    every authority into them. That would be a seventh of a start, and the server is no client. So
    the file that they are read from is an empty one meanwhile.
    """
    before = os.environ.get(_CERTIFICATES)
    os.environ[_CERTIFICATES] = os.devnull
    try:
        import aiohttp  # noqa: F401
    finally:
        if before is None:
            del os.environ[_CERTIFICATES]
        else:
            os.environ[_CERTIFICATES] = before


def _verify(program: str, arguments: list[str]) -> int:
    from aggregator.commands.verify.command import DESCRIPTION, CannotVerify, verify
    from aggregator.settings.storage import VerifySettings
    from storage.errors import StorageError

    parser = Parser(f"{program} verify", usage="[OPTION ...]", description=DESCRIPTION)
    settings = read_settings(VerifySettings, parser, arguments)
    _need_standard_output()
    for name, reason in _unknown_variables():
        standard_streams.tell(f"the variable {name} is ignored: {reason}")
    try:
        status = verify(settings)
        sys.stdout.flush()
    except (StorageError, CannotVerify) as error:
        _refuse(str(error))
    return status


def _logs(program: str, arguments: list[str]) -> int:
    if arguments[:1] not in (["report"], ["-h"], ["--help"]):
        raise WrongCommandLine(
            f"logs has one command: {program} logs report [FILE ...] [--html FILE]"
        )
    from aggregator.commands.log_report.command import DESCRIPTION, USAGE, report
    from aggregator.commands.log_report.duckdb_lines import CannotReport

    parser = Parser(f"{program} logs report", usage=USAGE, description=DESCRIPTION)
    try:
        report(parser, arguments[1:] if arguments[0] == "report" else arguments)
    except CannotReport as error:
        _refuse(str(error))
    return 0


def _token(program: str, arguments: list[str]) -> int:
    from aggregator.access.tokens import masked
    from aggregator.commands.token.errors import TokenCommandFailed

    try:
        return _new_or_check(f"{program} token", arguments)
    except TokenCommandFailed as error:
        _refuse(str(error))
    except WrongCommandLine as error:
        # Somebody may well take a token for an argument.
        raise WrongCommandLine(masked(str(error))) from None


def _new_or_check(program: str, arguments: list[str]) -> int:
    name = arguments[0] if arguments else ""
    if name == "new":
        from aggregator.commands.token import new

        parser = Parser(f"{program} new", usage=new.USAGE, description=new.DESCRIPTION)
        _need_standard_output()
        new.new(parser, arguments[1:])
        return 0
    if name == "check":
        from aggregator.commands.token import check

        parser = Parser(f"{program} check", usage=check.USAGE, description=check.DESCRIPTION)
        _need_standard_output()
        return check.check(parser, arguments[1:])
    raise WrongCommandLine(f"token has two commands: {program} new and {program} check")


def _unknown_variables() -> Iterator[tuple[str, str]]:
    from aggregator.settings.model import Settings

    for name, near in unknown_variables(Settings.options().values(), os.environ).items():
        yield name, "no setting is called so" + (f"; did you mean {near}?" if near else "")


_COMMANDS = {"serve": _serve, "verify": _verify, "logs": _logs, "token": _token}


def _need_standard_output() -> None:
    if sys.stdout is None:
        # Its number would be that of the next file opened, and what is printed written there.
        _refuse(standard_streams.CLOSED)


def _refuse(sentence: str) -> NoReturn:
    standard_streams.tell(sentence)
    raise SystemExit(2)


if __name__ == "__main__":
    raise SystemExit(main())
