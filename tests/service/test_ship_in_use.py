"""What people have seen go wrong while they shipped logs, with the real command."""

import gzip
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from support.processes import wait_for
from support.ship_command import Ship

from publisher.ship.log_events import line_bytes


@pytest.fixture
def ship(url: str, tmp_path: Path) -> Iterator[Ship]:
    directory = tmp_path / "logs"
    directory.mkdir()
    ship = Ship(url, directory)
    yield ship
    ship.kill()


def write(path: Path, *lines: str) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))


def append(path: Path, *lines: str) -> None:
    with path.open("a") as file:
        file.write("".join(f"{line}\n" for line in lines))


def test_logs_with_dates_in_their_names_are_followed_past_a_pause(ship: Ship) -> None:
    first, second = (ship.directory / f"app-2026-{day}.log" for day in ("11-30", "12-01"))
    quiet = ship.directory / "app.log"
    write(first, "line 1")
    write(quiet, "another log")
    following = ship.follow(ship.directory / "*.log")
    ship.wait_for_lines("line 1", "another log")
    # One that was renamed is given up after ten quiet seconds; these are not.
    renamed = ship.directory / "old"
    write(ship.directory / "new.log", "half")
    ship.wait_for_lines("line 1", "another log", "half")
    (ship.directory / "new.log").rename(renamed)
    with renamed.open("a") as file:
        file.write("no newline")
    wait_for(lambda: len(ship.lines()) == 4, "the last line of what was renamed")
    append(first, "line 2, after a pause")
    write(second, "next day")
    wait_for(lambda: len(ship.lines()) == 6, "what was written after the pause")
    assert following.end().endswith(
        "sent 6 lines: stored 6, duplicates 0, conflicts 0, retries 0\n"
    )
    sources = {line_bytes(event["payload"]): event["source"] for event in ship.events()}
    assert sources[b"line 2, after a pause\n"].endswith(":" + os.fspath(first))
    assert sources[b"next day\n"].endswith(":" + os.fspath(second))


def test_files_that_begin_like_one_that_is_gone_are_stored(ship: Ship) -> None:
    log, new = ship.directory / "job.log", ship.directory / "new"
    write(log, "starting", "ok")
    following = ship.follow(log)
    ship.wait_for_lines("starting", "ok")
    write(new, "starting", "ok")
    new.rename(log)
    ship.wait_for_lines(*["starting", "ok"] * 2)
    log.unlink()
    following.wait_for_told(f"'{log}' is not there")
    write(log, "starting", "ok")
    ship.wait_for_lines(*["starting", "ok"] * 3)
    assert "sent 6 lines: stored 6" in following.end()


def test_rotation_of_a_constant_line_is_stored_each_time(ship: Ship) -> None:
    log = ship.directory / "svc.log"
    write(log, "the same")
    following = ship.follow(log)
    for number in (1, 2):
        ship.wait_for_lines(*["the same"] * number)
        log.rename(ship.directory / f"svc.log.{number}")
        write(log, "the same")
    ship.wait_for_lines(*["the same"] * 3)
    assert "stored 3, duplicates 0" in following.end()


def test_what_was_moved_away_while_nothing_ran_is_sent_or_said(ship: Ship, tmp_path: Path) -> None:
    log = ship.directory / "app.log"
    archive, elsewhere = ship.directory / "archive", tmp_path / "elsewhere"
    archive.mkdir()
    elsewhere.mkdir()
    write(log, "one")
    following = ship.follow(log)
    ship.wait_for_lines("one")
    following.end()
    append(log, "two, while away")
    log.rename(archive / "app.log.1")
    write(log, "three")
    following = ship.follow(log)
    ship.wait_for_lines("one", "two, while away", "three")
    assert following.end() == "sent 2 lines: stored 2, duplicates 0, conflicts 0, retries 0\n"
    append(log, "four, out of sight")
    log.rename(elsewhere / "app.log.1")
    write(log, "five")
    following = ship.follow(log)
    ship.wait_for_lines("one", "two, while away", "three", "five")
    assert following.end() == (
        f"python -m publisher ship: the file that was '{log}' is not found: what was written to "
        "it behind byte 6, if anything, is not sent\n"
        "sent 1 line: stored 1, duplicates 0, conflicts 0, retries 0\n"
    )
    # Said once.
    following = ship.follow(log)
    append(log, "six")
    ship.wait_for_lines("one", "two, while away", "three", "five", "six")
    assert "is not found" not in following.end()


def test_numbers_that_move_store_each_content_once(ship: Ship) -> None:
    def numbered(number: int) -> Path:
        return ship.directory / (f"app.{number}.log" if number else "app.log")

    expected: list[str] = []
    following = ship.follow(ship.directory / "*.log")
    for generation in range(1, 5):
        for number in range(generation - 2, -1, -1):
            numbered(number).rename(numbered(number + 1))
        lines = [f"gen{generation} {name}" for name in "abc"]
        write(numbered(0), *lines)
        expected += lines
        ship.wait_for_lines(*expected)
    assert following.end().endswith(
        "sent 12 lines: stored 12, duplicates 0, conflicts 0, retries 0\n"
    )
    again = ship.follow(ship.directory / "*.log")
    append(numbered(0), "more")
    ship.wait_for_lines(*expected, "more")
    assert "sent 1 line: stored 1" in again.end()


def test_one_file_by_several_names_is_one(ship: Ship) -> None:
    log = ship.directory / "server-a.log"
    write(log, "one")
    (ship.directory / "latest.log").symlink_to(log.name)
    os.link(log, ship.directory / "hard.log")
    status, told = ship.once(*sorted(ship.directory.glob("*.log")))
    assert (status, told) == (0, "sent 1 line: stored 1, duplicates 0, conflicts 0, retries 0\n")
    following = ship.follow(ship.directory / "*.log", log)
    append(log, "two")
    wait_for(lambda: len(ship.lines()) >= 2, "the second line")
    following.end()
    assert "two\n" in ship.lines()


def test_more_files_than_descriptors_are_followed(ship: Ship) -> None:
    few = [ship.directory / f"a{number}.log" for number in range(20)]
    many = [ship.directory / f"s{number}.log" for number in range(200)]
    for path in few:
        write(path, f"svc {path.name}")
    following = ship.follow(ship.directory / "*.log", max_descriptors=64)
    ship.wait_for_lines(*(f"svc {path.name}" for path in few))
    for path in many:
        write(path, f"x {path.name}")
    lines = [f"svc {path.name}" for path in few] + [f"x {path.name}" for path in many]
    ship.wait_for_lines(*lines)
    for path in few:
        append(path, f"more {path.name}")
    ship.wait_for_lines(*lines, *(f"more {path.name}" for path in few))
    assert following.end() == "sent 240 lines: stored 240, duplicates 0, conflicts 0, retries 0\n"


def test_a_byte_order_mark_costs_no_record(ship: Ship) -> None:
    log = ship.directory / "w.ndjson"
    log.write_bytes(b'\xef\xbb\xbf{"id":"1","m":"first"}\n{"id":"2","m":"second"}\n')
    status, told = ship.once(log, "--format", "ndjson", "--id-field", "id")
    assert (status, told) == (0, "sent 2 lines: stored 2, duplicates 0, conflicts 0, retries 0\n")
    assert [event["payload"]["m"] for event in ship.events()] == ["first", "second"]


def test_hosts_of_one_image_store_their_own_lines(ship: Ship, tmp_path: Path) -> None:
    log = ship.directory / "app.log"
    write(log, "boot", "ready")
    for number in (1, 2):
        state = tmp_path / f"state-{number}"
        status, told = ship.once(log, "--checkpoint", state, "--host", f"web{number}")
        assert (status, told) == (
            0,
            "sent 2 lines: stored 2, duplicates 0, conflicts 0, retries 0\n",
        )
    assert {event["source"] for event in ship.events()} == {f"web1:{log}", f"web2:{log}"}
    # A clone with its checkpoint: what comes from then on is its own.
    shutil.copy(tmp_path / "state-1", tmp_path / "state-3")
    append(log, "again")
    for number in (1, 3):
        state = tmp_path / f"state-{number}"
        _, told = ship.once(log, "--checkpoint", state, "--host", f"web{number}")
        assert "sent 1 line: stored 1, duplicates 0" in told


def test_sources_tell_hosts_and_files_apart(ship: Ship) -> None:
    logs = [ship.directory / pod / "app" / "0.log" for pod in ("ns_a_1", "ns_b_2")]
    for log in logs:
        log.parent.mkdir(parents=True)
        write(log, "the same")
    pattern = ship.directory / "*/*/*.log"
    assert "stored 2, duplicates 0" in ship.once(pattern, "--host", "node")[1]
    assert [event["source"] for event in ship.events()] == [f"node:{log}" for log in logs]
    _, told = ship.once(
        *(pattern, "--host", "node", "--topic", "named", "--source", "{host}/{name}")
    )
    assert "stored 2, duplicates 0" in told
    with urlopen(f"{ship.url}/events?topic=named&after=0") as answer:
        assert [event["source"] for event in json.load(answer)] == ["node/0.log"] * 2


def test_records_that_are_not_as_they_should_be_are_kept_and_counted(
    ship: Ship, tmp_path: Path
) -> None:
    log, state = ship.directory / "app.ndjson", tmp_path / "checkpoint"
    write(
        log,
        "=== the service begins ===",
        '{"id": "1", "at": "2026-11-30 12:00:00,123"}',
        '{"key": "2", "at": "2026-11-30 12:00:01,456"}',
        *(f"banner {number}" for number in range(20)),
    )
    arguments = (log, "--checkpoint", state, "--format", "ndjson", "--time-field", "at")
    status, told = ship.once(*arguments, "--id-field", "id")
    assert status == 0
    assert "stored 23, duplicates 0, conflicts 0, as text 22" in told
    assert told.count(" is stored as text: ") == 10
    assert "of the records so far 22 were stored as text" in told
    timed = [event for event in ship.events() if event["event_id"] == "1"]
    assert [event["timestamp"] for event in timed] == ["2026-11-30T12:00:00.123000Z"]
    # What mended options make of it is stored, and nothing else again.
    status, told = ship.once(*arguments, "--id-field", "key")
    assert status == 0
    assert "stored 2, duplicates 21, conflicts 0" in told
    assert {"1", "2"} <= {event["event_id"] for event in ship.events()}


def test_compressed_logs_are_read_and_the_same_again_is_stored_once(ship: Ship) -> None:
    log = ship.directory / "x.log.1"
    write(log, "one", "two")
    assert "stored 2" in ship.once(log)[1]
    archive = ship.directory / "x.log.1.gz"
    archive.write_bytes(gzip.compress(log.read_bytes()))
    log.unlink()
    for _ in range(2):
        status, told = ship.once(archive)
        assert (status, told) == (
            0,
            "sent 2 lines: stored 0, duplicates 2, conflicts 0, retries 0\n",
        )
    assert ship.lines() == ["one\n", "two\n"]


@pytest.mark.parametrize(
    ("name", "content", "times", "line"),
    [
        (
            "cri",
            "2026-11-30T12:00:00.5Z stdout P one \n2026-11-30T12:00:01.5Z stdout F line\n",
            ["2026-11-30T12:00:00.500000Z"],
            "one line",
        ),
        (
            "docker",
            (
                '{"log":"one ","stream":"stdout","time":"2026-11-30T12:00:00.5Z"}\n'
                '{"log":"line\\n","stream":"stdout","time":"2026-11-30T12:00:01.5Z"}\n'
            ),
            ["2026-11-30T12:00:00.500000Z"],
            "one line",
        ),
        (
            "combined",
            '10.0.0.1 - - [30/Nov/2026:12:00:00 +0100] "GET / HTTP/1.1" 200 5 "-" "curl"\n',
            ["2026-11-30T11:00:00.000000Z"],
            '10.0.0.1 - - [30/Nov/2026:12:00:00 +0100] "GET / HTTP/1.1" 200 5 "-" "curl"',
        ),
    ],
)
def test_formats_have_their_own_times_and_whole_records(
    ship: Ship, name: str, content: str, times: list[str], line: str
) -> None:
    log = ship.directory / "0.log"
    log.write_text(content)
    assert ship.once(log, "--format", name)[0] == 0
    assert [event["timestamp"] for event in ship.events()] == times
    assert [event["payload"]["line"] for event in ship.events()] == [line]
    # It finds out by itself, and makes the same of it.
    assert "stored 0, duplicates 1" in ship.once(log, "--format", "auto")[1]


def test_a_traceback_is_one_record(ship: Ship) -> None:
    log = ship.directory / "app.log"
    traceback = [
        "2026-11-30 12:00:00,123 ERROR it failed",
        "Traceback (most recent call last):",
        '  File "app.py", line 7, in <module>',
        "ZeroDivisionError: division by zero",
    ]
    write(log, *traceback, "2026-11-30 12:00:01,000 INFO on")
    arguments = ("--multiline", r"\d{4}-", "--time-format", "asctime", "--time-zone", "UTC")
    assert ship.once(log, *arguments)[0] == 0
    first, second = ship.events()
    assert line_bytes(first["payload"]).decode() == "".join(f"{line}\n" for line in traceback)
    assert [first["timestamp"], second["timestamp"]] == [
        "2026-11-30T12:00:00.123000Z",
        "2026-11-30T12:00:01.000000Z",
    ]


@pytest.mark.parametrize("names", ["app.log", "app.log*"])
def test_what_was_compressed_unread_while_nothing_ran_is_sent(ship: Ship, names: str) -> None:
    def numbered(number: int) -> Path:
        return ship.directory / f"app.log.{number}"

    log = ship.directory / "app.log"
    write(log, *(f"a {number}" for number in range(40)))
    following = ship.follow(ship.directory / names)
    wait_for(lambda: len(ship.lines()) == 40, "the first lines")
    following.end()
    # Two rotations with `delaycompress`.
    append(log, *(f"b {number}" for number in range(40)))
    log.rename(numbered(1))
    write(log, *(f"c {number}" for number in range(40)))
    archive = ship.directory / "app.log.2.gz"
    archive.write_bytes(gzip.compress(numbered(1).read_bytes()))
    numbered(1).unlink()
    log.rename(numbered(1))
    write(log, *(f"d {number}" for number in range(40)))
    following = ship.follow(ship.directory / names)
    expected = {f"{name} {number}\n" for name in "abcd" for number in range(40)}
    wait_for(lambda: set(ship.lines()) >= expected, "all lines")
    assert ship.lines() == sorted(expected)
    assert "conflicts 0" in following.end()


def test_standard_input_is_sent_each_time(ship: Ship) -> None:
    for number in (1, 2):
        status, told = ship.once("-", stdin=b"done\n")
        assert status == 0
        assert "sent 1 line: stored 1, duplicates 0" in told
        assert ship.lines() == ["done\n"] * number
