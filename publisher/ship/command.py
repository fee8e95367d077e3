"""The command `python -m publisher ship`."""

import argparse
import asyncio
import hashlib
import math
import os
import signal
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from yarl import URL

from publisher import cli
from publisher.output import put, tell
from publisher.retry import RetryPolicy
from publisher.ship.arguments import add_arguments
from publisher.ship.dead_letters import DeadLetters, DeadLettersRefused
from publisher.ship.files.checkpoint import Checkpoint, CheckpointRefused
from publisher.ship.files.readable_file import FileRefused
from publisher.ship.journal.errors import JournalUnreadable
from publisher.ship.journal.selection import journal_arguments
from publisher.ship.narrator import Narrator
from publisher.ship.records.registry import Options, make_format
from publisher.ship.records.source import SourceTemplate
from publisher.ship.sending import ShipStopped
from publisher.ship.ship import follow, ship
from publisher.ship.ship_journal import ship_journal
from publisher.ship.ship_letters import ship_letters
from publisher.ship.ship_stream import STDIN, ship_stream
from publisher.ship.target import Target
from publisher.ship.totals import Totals, counted

_SAFE = "running the same command again is safe: what is stored already is not stored twice"
_NEW_STREAM = "what was stored stays, and would be stored once more if it was sent again"
_TERMINATED = 128 + signal.SIGTERM
"""The exit status after SIGTERM, as of a command that the signal ends at once."""
_FALLBACK_TOPIC = "unparsed"
_SOURCES = {"host": "{host}:{path}", "source": "{name}"}


def add_to(commands: cli.Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "ship",
        help="send the lines of log files to a topic",
        description=(
            "Send every line of the files to a topic, byte for byte and in order. Running it again "
            "stores nothing twice."
        ),
        allow_abbrev=False,
    )
    parser.set_defaults(run=run, program=parser.prog)
    add_arguments(parser)


def run(parsed: argparse.Namespace) -> int:
    """Run the command.

    Returns:
        Its exit status.
    """
    totals = Totals()
    narrator = Narrator(parsed.program, totals)
    failure = ""
    status = cli.DONE
    try:
        _check(parsed)
        status = asyncio.run(_ship(parsed, narrator))
    except (_Usage, FileRefused, CheckpointRefused, DeadLettersRefused, JournalUnreadable) as error:
        status, failure = cli.USAGE, str(error)
    except ShipStopped as error:
        status, failure = cli.FAILED, f"{error}; {_if_run_again(parsed)}"
    except KeyboardInterrupt:
        status, failure = cli.INTERRUPTED, f"interrupted; {_if_run_again(parsed)}"
    except asyncio.CancelledError:
        status, failure = _TERMINATED, f"terminated; {_if_run_again(parsed)}"
    narrator.close()
    if status != cli.USAGE and not failure and (totals.conflicts or totals.rejected):
        status, failure = cli.FAILED, _not_stored(parsed, totals)
    if status == cli.DONE or totals.lines:
        put(f"{totals}\n")
    if failure:
        tell(f"{parsed.program}: {failure}\n")
    return status


class _Usage(Exception):
    """The options do not go together; the message is one sentence."""


def _if_run_again(parsed: argparse.Namespace) -> str:
    return _NEW_STREAM if parsed.files == [STDIN] and parsed.id_field is None else _SAFE


def _not_stored(parsed: argparse.Namespace, totals: Totals) -> str:
    conflicts, rejected = totals.conflicts, totals.rejected
    parts = []
    if conflicts:
        parts.append(counted(conflicts, "record in conflict", "records in conflict"))
    if rejected:
        part = counted(rejected, "rejected record", "rejected records")
        if parsed.dead_letters:
            them = "it" if rejected == 1 else "them"
            part += f" ({os.fspath(parsed.dead_letters)!r} has {them})"
        parts.append(part)
    were = "was" if conflicts + rejected == 1 else "were"
    return f"{' and '.join(parts)} {were} not stored, all others were"


def _check(parsed: argparse.Namespace) -> None:
    """Refuse options that do not go together, and set those that go by others."""
    if parsed.format == "text":
        parsed.format = "lines"
    if parsed.topic is None and parsed.topic_field is None:
        raise _Usage("one of --topic and --topic-field is needed")
    if not parsed.files and parsed.format != "journal" and parsed.resend is None:
        raise _Usage("a FILE is needed, or - for standard input")
    if parsed.resend is not None and (parsed.files or parsed.follow or parsed.checkpoint):
        raise _Usage("--resend goes without files, --follow and --checkpoint")
    if parsed.resend is not None and parsed.resend == parsed.dead_letters:
        raise _Usage("--dead-letters must be another file than that of --resend")
    if parsed.dead_letters and not parsed.dead_letters.parent.is_dir():
        raise _Usage(
            f"cannot write the dead letters {os.fspath(parsed.dead_letters)!r}: there is no "
            f"directory {os.fspath(parsed.dead_letters.parent)!r}"
        )
    if parsed.unit and parsed.format != "journal":
        raise _Usage("--unit goes with --format journal")
    if STDIN in parsed.files:
        _check_stdin(parsed)


def _check_stdin(parsed: argparse.Namespace) -> None:
    if len(parsed.files) > 1:
        raise _Usage("- for standard input goes alone, without other files")
    if parsed.checkpoint:
        raise _Usage("standard input cannot be read again, so --checkpoint does not go with it")
    # Closed by whoever started this, its number is that of any file by now.
    if sys.stdin is None:
        raise _Usage("standard input is closed")


async def _ship(parsed: argparse.Namespace, narrator: Narrator) -> int:
    """Ship what is asked for, and return the exit status as far as what was read decides on it."""
    target, report = _target(parsed), narrator.report()
    telling = asyncio.create_task(narrator.tell_counts())
    try:
        stop = _stop() if parsed.follow else None
        if stop is None and (shipping := asyncio.current_task()) is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, shipping.cancel)
        if parsed.resend is not None:
            whole = await ship_letters(parsed.resend, target, report)
            return cli.DONE if whole else cli.FAILED
        if parsed.files == [STDIN]:
            await ship_stream(sys.stdin.fileno(), target, report, stop)
            return cli.DONE
        with ExitStack() as stack:
            checkpoint = _checkpoint(parsed, narrator, stack)
            if parsed.format == "journal" and _are_journals(parsed.files):
                arguments = journal_arguments(
                    [os.fspath(path) for path in parsed.files], units=parsed.unit
                )
                await ship_journal(arguments, target, report, stop, checkpoint=checkpoint)
            elif stop is None or checkpoint is None:
                if not await ship(parsed.files, target, report, checkpoint=checkpoint):
                    return cli.USAGE
            else:
                await follow(parsed.files, target, report, stop, checkpoint=checkpoint)
            return cli.DONE
    finally:
        telling.cancel()


def _stop() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def _are_journals(files: list[Path]) -> bool:
    """Tell whether journalctl is to read them, not the lines that it wrote to a file."""
    return all(path.is_dir() or ".journal" in path.suffixes for path in files)


def _target(parsed: argparse.Namespace) -> Target:
    options = Options(
        format=parsed.format,
        id_field=parsed.id_field,
        topic_field=parsed.topic_field,
        time_field=parsed.time_field,
        time_formats=tuple(parsed.time_format),
        time_zone=parsed.time_zone,
        multiline=parsed.multiline,
        source=parsed.source,
    )
    try:
        line_format = make_format(options)
    except ValueError as error:
        raise _Usage(str(error)) from error
    deadline_s = parsed.deadline
    if deadline_s is None:
        deadline_s = math.inf if parsed.follow else cli.DEFAULT_DEADLINE_S
    dead_letters = parsed.dead_letters
    return Target(
        url=parsed.url,
        topic=parsed.topic or _FALLBACK_TOPIC,
        line_format=line_format,
        source=parsed.source or SourceTemplate.parse(_SOURCES[parsed.ids]),
        host=parsed.host,
        by_source=parsed.ids == "source",
        options=repr(replace(options, source=None)),
        batch_events=parsed.batch_events,
        policy=RetryPolicy(deadline_s=deadline_s),
        dead_letters=DeadLetters(dead_letters) if dead_letters else None,
        credentials=parsed.credentials,
    )


def _checkpoint(
    parsed: argparse.Namespace, narrator: Narrator, stack: ExitStack
) -> Checkpoint | None:
    path: Path | None = parsed.checkpoint
    if parsed.follow and path is None:
        path = _default_checkpoint(parsed)
        narrator.tell(f"the checkpoint is {os.fspath(path)!r}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _Usage(
                f"cannot make the directory {os.fspath(path.parent)!r} for the checkpoint "
                f"({error.strerror or error}): name --checkpoint"
            ) from error
    if path is None:
        return None
    return stack.enter_context(Checkpoint.opened(path, _shipped_to(parsed)))


def _shipped_to(parsed: argparse.Namespace) -> str:
    """Name where records go: a checkpoint of the one says nothing of another."""
    topic = parsed.topic or f"field {parsed.topic_field}"
    # It is written down, which a password must not be.
    url = str(URL(parsed.url).with_user(None)).rstrip("/")
    # The former name of a format stays, as checkpoints have it.
    name = "text" if parsed.format == "lines" else parsed.format
    return f"{url} {topic} {name} {parsed.id_field or ''}"


def _default_checkpoint(parsed: argparse.Namespace) -> Path:
    files = [os.fspath(path.absolute()) for path in parsed.files]
    source = str(parsed.source or "")
    what = "\0".join([_shipped_to(parsed), source, *files, *parsed.unit])
    digest = hashlib.sha256(what.encode(errors="surrogateescape")).hexdigest()[:20]
    return _state_directory() / "pubsub-log-aggregator" / f"ship-{digest}.checkpoint"


def _state_directory() -> Path:
    """Return where this user's programs keep their state."""
    # The XDG Base Directory Specification has a relative one ignored.
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    if state.is_absolute():
        return state
    no_home = "there is no home directory for a checkpoint: name --checkpoint"
    if not Path(os.environ.get("HOME", "/")).is_absolute():
        raise _Usage(no_home)
    try:
        return Path("~/.local/state").expanduser()
    except RuntimeError as error:
        raise _Usage(no_home) from error
