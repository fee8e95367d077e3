"""`python -m aggregator logs report` on the log of a real run."""

import gzip
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import duckdb
import jq
import pytest
from support.backends import Database
from support.load import Told, batch_of, get_json, publish, session
from support.processes import Aggregator

DOCUMENTED = Path(__file__).parents[2] / "docs" / "operate" / "log-analysis.md"


@pytest.fixture
async def log(
    run_aggregator: Callable[..., Aggregator], database: Database, tmp_path: Path
) -> tuple[Path, dict[str, dict[str, int]]]:
    """The log of an aggregator that has stopped, and what its /stats said of each topic."""
    aggregator = run_aggregator(*database.arguments(), "--log-format", "json")
    told = Told()
    async with session() as client:
        for number in range(120):
            batch = batch_of(f"t-{number % 3}", [f"e-{number % 70 + k}" for k in range(5)])
            if number % 10 == 9:
                batch[0]["payload"] = {"other": number}
            await publish(client, aggregator.url, batch, told)
        stats = await get_json(client, f"{aggregator.url}/stats")
    assert aggregator.stop() == 0
    return tmp_path / "aggregator-0.log", stats["topics"]


def report(*arguments: str, given: bytes = b"") -> tuple[int, str, str]:
    """Exit status, what was printed, and what went to standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "aggregator", "logs", "report", *arguments],
        check=False,
        input=given,
        capture_output=True,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def counts_of(text: str) -> dict[str, tuple[int, ...]]:
    """The table of events by topic."""
    table = text[text.index("Events, by topic") :].partition("\n\n")[0].splitlines()[2:]
    rows = [line.replace(",", "").split() for line in table]
    return {topic: tuple(map(int, counts)) for topic, *counts in rows}


async def test_its_counts_are_those_of_stats(
    log: tuple[Path, dict[str, dict[str, int]]], tmp_path: Path
) -> None:
    path, topics = log
    names = ("received", "unique_processed", "duplicate_dropped", "conflicts")
    expected = {topic: tuple(counts[name] for name in names) for topic, counts in topics.items()}
    assert sum(each[3] for each in expected.values()) > 0
    expected["total"] = tuple(sum(column) for column in zip(*expected.values(), strict=True))

    status, text, errors = report(str(path), "--html", str(tmp_path / "page.html"))
    assert (status, errors) == (0, "")
    assert counts_of(text) == expected
    assert "<svg" in (tmp_path / "page.html").read_text()

    assert report(given=path.read_bytes()) == (0, text, "")
    packed = tmp_path / "log.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert report(str(packed)) == (0, text, "")
    _, twice, _ = report(str(path), str(packed))
    assert counts_of(twice)["total"] == tuple(2 * count for count in expected["total"])


async def test_the_documented_one_liners_answer_alike(
    log: tuple[Path, dict[str, dict[str, int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, topics = log
    monkeypatch.chdir(path.parent)
    lines = path.read_text()
    path.rename("aggregator.log")
    text = DOCUMENTED.read_text()
    by_jq = [
        jq.compile(program).input_text(lines, slurp=True).first()
        for program in re.findall(r"```jq\n(.*?)```", text, re.DOTALL)
    ]
    by_sql = [
        duckdb.connect().execute(query).fetchall()
        for query in re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    ]
    assert len(by_jq) == len(by_sql) == 6
    (rates, latency, events, slowest, flushes, trouble) = by_jq
    assert by_sql[0] == [(row["from"], row["events"]) for row in rates]
    assert [row[:2] for row in by_sql[1]] == [(row["path"], row["requests"]) for row in latency]
    assert by_sql[2] == [tuple(row.values()) for row in events]
    assert {row["topic"]: row["stored"] for row in events} == {
        topic: counts["unique_processed"] for topic, counts in topics.items()
    }
    assert [row[3] for row in by_sql[3]] == [row["duration_ms"] for row in slowest]
    assert by_sql[4] == [(flushes["flushes"], flushes["events"], flushes["max"])]
    assert [(row[0], row[3]) for row in by_sql[5]] == [
        (row["event"], row["lines"]) for row in trouble
    ]
    assert by_sql[5]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["no-such-file"], "can't read 'no-such-file': No such file or directory"),
        (["."], "can't read '.': Is a directory"),
        ([__file__], "none is a JSON log line of the aggregator"),
        ([__file__, "--html", "/no/such/directory/page.html"], "none is a JSON log line"),
    ],
)
def test_what_can_t_be_read_is_said_in_one_sentence(
    arguments: Sequence[str], sentence: str
) -> None:
    status, text, errors = report(*arguments)
    assert (status, text) == (2, "")
    assert errors.startswith("aggregator: ")
    assert sentence in errors
    assert errors.count("\n") == 1


def test_what_can_t_be_written_is_said_in_one_sentence(tmp_path: Path) -> None:
    line = {"event": "stopped", "level": "info", "timestamp": "2026-01-31T12:00:00.000000Z"}
    (tmp_path / "log").write_text(json.dumps(line))
    status, text, errors = report(str(tmp_path / "log"), "--html", "/no/such/directory/page.html")
    assert (status, text) == (2, "")
    assert errors.startswith("aggregator: can't write the report: ")
    assert errors.count("\n") == 1


def test_logs_without_a_command_says_which_there_is() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "aggregator", "logs"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "logs report" in done.stderr


def test_ctrl_c_is_one_sentence_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "aggregator", "logs", "report"],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        assert running.stdin is not None
        assert running.stderr is not None
        deadline = time.monotonic() + 30
        while not list(tmp_path.glob("*/lines.duckdb*")):
            assert time.monotonic() < deadline, "it does not begin to read"
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        # Whoever writes into the pipe gets it from the terminal as well.
        running.stdin.close()
        errors = running.stderr.read().decode()
        assert running.wait(30) == 2
    assert errors == "aggregator: interrupted before the end; nothing is known\n"
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_is_not_read() -> None:
    terminal, its_end = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "aggregator", "logs", "report"],
            check=False,
            stdin=its_end,
            capture_output=True,
            timeout=60,
        )
    finally:
        os.close(terminal)
        os.close(its_end)
    assert done.returncode == 2
    assert done.stderr == (
        b"aggregator: no log file is named, and standard input is a terminal: name one\n"
    )


def test_a_name_is_the_file_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file has another number of lines, and beside it lies one that a pattern would find."""
    names = {
        "app[1].log": "app1.log",
        "st*r.log": "star.log",
        "wh?t.log": "what.log",
        "[prod]/x.log": "p/x.log",
        "day=1/x.log": "day=2/x.log",
        "s3:/bucket/x.log": "s3.log",
        "~/x.log": "x.log",
        'it\'s "one".log': "its.log",
        "plain.gz": "plain",
        "{a,b}.log": "a.log",
    }
    work = tmp_path / "[1]*"
    work.mkdir()
    # What the report keeps for itself has such a name, too.
    monkeypatch.setenv("TMPDIR", str(work))
    monkeypatch.chdir(work)
    line = '{"event":"request","path":"/stats","status":200,"duration_ms":1.0}\n'
    for count, (name, other) in enumerate(names.items(), 2):
        for path, lines in ((Path(name), 2**count), (Path(other), 1)):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(line * lines)
    # A latin-1 name, and gzip that does not say so.
    strange = os.fsdecode(b"m\xfcll.log")
    Path(strange).write_text(line * 3)
    Path("packed").write_bytes(gzip.compress(line.encode() * 2))
    status, text, errors = report(*names, strange, "packed")
    assert (status, errors) == (0, "")
    expected = sum(2**count for count in range(2, 2 + len(names))) + 3 + 2
    assert text.startswith(f"{expected:,} lines, from")


def test_a_file_that_is_cut_is_named_as_it_was_given(tmp_path: Path) -> None:
    packed = tmp_path / "cut[1].gz"
    packed.write_bytes(gzip.compress(os.urandom(5000))[:2000])
    status, _, errors = report(str(packed))
    assert status == 2
    assert "aggregator-report-" not in errors
