"""Log lines as a table that is asked questions; of any number, in bounded memory.

DuckDB reads the files once, into a temporary file, and answers from that.
"""

import glob
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MEMORY_LIMIT = "512MB"
_STANDARD_INPUT = "/dev/stdin"
_GZIP = b"\x1f\x8b"
_COMPRESSED_NAMES = {_GZIP: ".gz", b"\x28\xb5\x2f\xfd": ".zst"}

# Counts as text, for a line that is no log line may hold anything; what can't be cast is NULL.
_LOAD = """
CREATE TABLE lines AS
SELECT try_cast("timestamp" AS TIMESTAMP) AS logged_at,
       -- What was renamed is read by its former name, too.
       level, CASE event WHEN 'answer_cut_off' THEN 'response_aborted' ELSE event END AS event,
       request_id, trace_id, path, reason, topic,
       try_cast(status AS INTEGER) AS status,
       try_cast(duration_ms AS DOUBLE) AS duration_ms,
       coalesce(try_cast(events AS BIGINT), 0) AS events,
       coalesce(try_cast(requests AS BIGINT), 0) AS requests,
       coalesce(try_cast(received AS BIGINT), 0) AS received,
       coalesce(try_cast(wait AS BOOLEAN), false) AS wait,
       complete IS NOT NULL AS stream,
       coalesce(try_cast(suppressed AS BIGINT), try_cast(left_out_before AS BIGINT), 0)
           AS suppressed,
       CASE WHEN event = 'log_lines_suppressed' THEN "of" ELSE event END AS counted_event,
       try_cast(topics AS MAP(VARCHAR, STRUCT(stored BIGINT, duplicate BIGINT, "conflict" BIGINT)))
           AS topics
FROM read_json($files, format = 'newline_delimited', ignore_errors = true,
               hive_partitioning = false, columns = {
    "timestamp": 'VARCHAR', level: 'VARCHAR', event: 'VARCHAR', request_id: 'VARCHAR',
    trace_id: 'VARCHAR', path: 'VARCHAR', reason: 'VARCHAR', topic: 'VARCHAR', status: 'VARCHAR',
    duration_ms: 'VARCHAR', events: 'VARCHAR', requests: 'VARCHAR', received: 'VARCHAR',
    wait: 'VARCHAR', complete: 'VARCHAR', suppressed: 'VARCHAR', left_out_before: 'VARCHAR',
    "of": 'VARCHAR', topics: 'JSON'})"""


class CannotReport(Exception):
    """No report can be made; the message is one sentence that says why."""


class Answer(NamedTuple):
    """What a question was answered with."""

    columns: list[str]
    rows: list[tuple[Any, ...]]


class LogLines:
    """The lines that were loaded."""

    def __init__(self, connection: "DuckDBPyConnection") -> None:
        self._connection = connection

    def ask(self, sql: str, **parameters: object) -> Answer:
        """The answer to a question about the table `lines`."""
        asked = self._connection.execute(sql, parameters or None)
        return Answer([column[0] for column in asked.description or []], asked.fetchall())

    def one(self, sql: str, **parameters: object) -> Any:
        """The only value of an answer."""
        ((value,),) = self.ask(sql, **parameters).rows
        return value


@contextmanager
def loaded(files: Sequence[Path]) -> Iterator[LogLines]:
    """The lines of some files, or of standard input if there are none.

    What is compressed with gzip is decompressed; of pipes, which can't be looked into before they
    are read, that whose name ends in .gz. Names are taken as they are, not as patterns. A line
    that is no JSON object has NULL everywhere.

    Raises:
        CannotReport: DuckDB is not installed, or a file can't be read.
    """
    try:
        import duckdb  # noqa: PLC0415 - only who wants a report has it
    except ImportError as error:
        raise CannotReport("logs report needs DuckDB: pip install duckdb") from error
    with tempfile.TemporaryDirectory(prefix="aggregator-report-") as directory:
        links = _linked(files, Path(directory))
        # The directory's own name may be a pattern, too.
        names = [glob.escape(str(link)) for link in links] or [_STANDARD_INPUT]
        connection = duckdb.connect(
            str(Path(directory, "lines.duckdb")),
            config={
                "memory_limit": MEMORY_LIMIT,
                "temp_directory": directory,
                "preserve_insertion_order": False,
                "autoinstall_known_extensions": False,
            },
        )
        try:
            connection.execute(_LOAD, {"files": names})
            yield LogLines(connection)
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            for link, file in links.items():
                reason = reason.replace(str(link), str(file))
            raise CannotReport(f"can't read the log: {reason}") from error
        finally:
            connection.close()


def _linked(files: Sequence[Path], directory: Path) -> dict[Path, Path]:
    """Make a link to each file under a plain name; returns the files by their links.

    In a name DuckDB sees patterns (`[1]`, `*`), other machines (`s3://`), the home directory (`~`),
    columns (`day=1/`) and the compression.
    """
    links = {}
    for number, file in enumerate(files):
        link = directory / f"{number}{_COMPRESSED_NAMES.get(_compression(file), '.log')}"
        link.symlink_to(file.absolute())
        links[link] = file
    return links


def _compression(file: Path) -> bytes:
    if not file.is_file():
        # What is read from a pipe to look at it is gone.
        return _GZIP if file.suffix == ".gz" else b""
    with file.open("rb") as opened:
        begin = opened.read(4)
    return next((magic for magic in _COMPRESSED_NAMES if begin.startswith(magic)), b"")
