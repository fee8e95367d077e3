"""`aggregator verify`: tables of what is stored, and whether it all agrees."""

import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from io import TextIOWrapper
from typing import NoReturn

from tqdm import tqdm

from aggregator.commands.verify.row_rules import row_rule_broken
from aggregator.commands.verify.table import Table, counted, subscription_lines
from aggregator.logging import standard_streams
from aggregator.settings.storage import VerifySettings
from storage.audit.recount import Audit
from storage.audit.snapshot import LogDamaged, LogSnapshot

AGREES, DIFFERS = 0, 1

DESCRIPTION = """\
Recount everything from the rows, in one snapshot of a database that may be in use:
conservation, uniqueness, dense offsets, counts per topic, subscriptions, and rows that the
aggregator can't have written. Prints a table. Never writes.

Exit status: 0 if all agrees, 1 with the differences, 2 if it can't be done. Each option
can also be given in the environment, as for the aggregator: AGGREGATOR_DATABASE,
AGGREGATOR_DSN, DATABASE_URL.
"""


class CannotVerify(Exception):
    """Nothing can be said of the database; the message is one sentence for its operator."""


def verify(settings: VerifySettings) -> int:
    """Recount the database and print what was found; returns the exit status.

    Args:
        settings: checked settings.

    Raises:
        StorageError: the database can't be read, or was lost meanwhile.
        CannotVerify: standard output fails, or Ctrl-C.
    """
    backend = settings.chosen_backend
    snapshot = backend.snapshot(settings)
    if isinstance(sys.stdout, TextIOWrapper):
        # A text from the database may be more than the terminal's encoding can say.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with closing(snapshot):
            snapshot.open()
            return _print_all(snapshot, backend.audit_passes)
    except LogDamaged as damage:
        # Before there was anything to print: the counts themselves, or the schema.
        print(f"1 difference:\n- the database could not be read: {damage}")  # noqa: T201
        return DIFFERS
    except OSError as error:
        # What Python still holds for it must not fail once more at the end.
        standard_streams.drop(sys.stdout)
        raise CannotVerify(f"can't write to standard output: {error.strerror}") from None
    except KeyboardInterrupt:
        raise CannotVerify("interrupted before the end; nothing is known") from None


def _print_all(snapshot: LogSnapshot, passes: int) -> int:
    extent = snapshot.extent()
    table = Table(extent)
    with _progress(max(extent.rows, 0) * passes) as progress:
        audit = Audit(snapshot, row_rule_broken, progress.on_rows)
        progress.print(table.head())
        for found in audit.topics():
            progress.print(table.topic(found))
        subscriptions = list(audit.subscriptions())
    _print(table.total(audit.differences.total), "")
    if subscriptions:
        _print(*subscription_lines(subscriptions), "")
    _print(*_closing(audit, table, len(subscriptions)))
    sys.stdout.flush()
    return DIFFERS if audit.differences.total else AGREES


def _closing(audit: Audit, table: Table, subscriptions: int) -> Iterator[str]:
    differences = audit.differences
    what = f"{counted(table.rows, 'row')} in {counted(table.topics, 'topic')}"
    if subscriptions:
        what += f" and {counted(subscriptions, 'subscription')}"
    recounted = f"{what} recounted in one snapshot"
    if not differences.total:
        yield f"Everything agrees: {recounted}."
        return
    yield f"{counted(differences.total, 'difference')}:"
    for sentence in differences.sentences:
        yield f"- {sentence}"
    if more := differences.total - len(differences.sentences):
        yield f"- and {more:,} more"
    yield ""
    if audit.complete:
        yield f"The database does not agree with itself: {recounted}."
    else:
        yield f"The database could not be read to its end: {recounted} so far."


class _Progress:
    """A bar on standard error, if that is a terminal, and lines on standard output beside it."""

    def __init__(self, bar: "tqdm[NoReturn]") -> None:
        self._bar = bar

    def on_rows(self, what: str, rows: int) -> None:
        if not self._bar.disable and what != self._bar.desc.removesuffix(": "):
            self._bar.set_description(what)
        self._bar.update(rows)

    def print(self, line: str) -> None:
        if self._bar.disable:
            _print(line)
        else:
            self._bar.write(line)


@contextmanager
def _progress(rows: int) -> Iterator[_Progress]:
    shown = sys.stderr is not None and sys.stderr.isatty()
    width, height = os.get_terminal_size(sys.stderr.fileno()) if shown else (0, 0)
    with tqdm(
        total=rows,
        unit="rows",
        unit_scale=True,
        disable=not shown,
        # A terminal that does not know its size says 0, and would get no bar.
        ncols=width or 80,
        nrows=height or 24,
        leave=False,
        file=sys.stderr,
    ) as bar:
        yield _Progress(bar)


def _print(*lines: str) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)
