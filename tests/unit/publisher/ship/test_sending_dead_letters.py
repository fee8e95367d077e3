"""Records that break a rule are kept in a file, and sent again as what they should have been."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from support.scripted import Scripted, answers
from unit.publisher.ship.shipping import Shipping, states_of

from publisher.ship.dead_letters import DeadLettersRefused
from publisher.ship.files.checkpoint import Checkpoint

pytestmark = pytest.mark.usefixtures("nothing_is_left_to_asyncio", "no_descriptor_is_left")

NDJSON = ("--format", "ndjson", "--id-field", "id")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def write(path: Path, *lines: bytes) -> None:
    path.write_bytes(b"".join(line + b"\n" for line in lines))


def size(path: Path) -> int:
    return path.stat().st_size


def records_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def texts(server: Scripted) -> list[str]:
    return [event_id for event_id in server.log if event_id.endswith("-text")]


async def test_dead_letters_are_kept_in_place_of_texts_and_stored_under_the_right_ids(
    server: Scripted, log: Path, state: Path, tmp_path: Path
) -> None:
    dead = tmp_path / "dead"
    long = b'{"key": "' + b"x" * 400_000 + b'"}'
    write(log, b'{"key": "a"}', b'{"id": "1"}', b"\xff no text", long, b'{"id": "bad"}', b"[1]")
    arguments = (*NDJSON, "--dead-letters", dead)
    shipping = Shipping(server.url, *arguments)
    totals = await shipping.once_with(state, log)
    assert (totals.stored, totals.as_text, totals.rejected, totals.lines) == (1, 0, 5, 6)
    assert list(server.log) == ["1"]
    assert len(shipping.told) == 5
    letters = records_of(dead)
    assert [letter["reason"] for letter in letters] == [
        "it has no field 'id'",
        "it is not UTF-8 (byte 0)",
        "it has no field 'id'",
        "it is bad",
        "it is JSON, but not an object",
    ]
    assert {letter["path"] for letter in letters} == {str(log)}
    # What the same lines are without a field for their ids.
    await Shipping(server.url, "--format", "ndjson").once(log)
    made = {event_id.removesuffix("-text") for event_id in list(server.log)[1:]}
    assert {letter["event_id"] for letter in letters} < made
    assert len(made) == 6 + len(long) // 131_072 - 3
    resent = await Shipping(server.url, "--format", "ndjson").resend(dead)
    assert (resent.stored, resent.conflicts) == (0, 0)
    assert resent.duplicates == resent.events


async def test_dead_letters_sent_again_are_what_mended_options_make_of_them(
    server: Scripted, log: Path, tmp_path: Path
) -> None:
    dead = tmp_path / "dead"
    write(log, b'{"key": "a"}', b'{"id": "1"}', b'{"x": 2}')
    await Shipping(server.url, *NDJSON, "--dead-letters", dead).once(log)
    mended = Shipping(server.url, "--format", "ndjson", "--id-field", "key")
    totals = await mended.resend(dead)
    assert (totals.stored, totals.as_text) == (2, 1)
    assert list(server.log)[:2] == ["1", "a"]
    assert [len(texts(server)), len(server.log)] == [1, 3]
    assert mended.bytes == mended.expected_bytes == size(log) - len(b'{"id": "1"}\n')
    again = await Shipping(server.url, "--format", "ndjson", "--id-field", "key").resend(dead)
    assert (again.stored, again.duplicates) == (0, 2)


async def test_a_record_of_several_lines_is_one_dead_letter(
    server: Scripted, log: Path, tmp_path: Path
) -> None:
    dead = tmp_path / "dead"
    write(log, b"begin 1", b" more", b"begin 2")
    arguments = ("--multiline", "begin")
    await Shipping(server.url, *arguments).once(log)
    known = list(server.log)
    rejected = answers(
        200,
        {
            **dict.fromkeys(("received", "unique_processed", "duplicate_dropped", "conflicts"), 0),
            "rejected": 2,
            "results": [
                {"index": index, "status": "rejected", "error": "it is bad"} for index in (0, 1)
            ],
        },
    )
    server.script = [rejected]
    await Shipping(server.url, *arguments, "--dead-letters", dead).once(log)
    assert [letter["text"] for letter in records_of(dead)] == ["begin 1\n more\n", "begin 2\n"]
    assert [letter["event_id"] for letter in records_of(dead)] == known
    totals = await Shipping(server.url, *arguments).resend(dead)
    assert (totals.stored, totals.duplicates) == (0, 2)


async def test_dead_letters_are_on_the_disk_before_the_checkpoint_goes_on(
    server: Scripted, log: Path, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(log, b"no record")
    steps: list[str] = []
    save, fsync = Checkpoint.save, os.fsync

    def noted_save(checkpoint: Checkpoint, states: Any) -> None:
        states = list(states)
        steps.append(f"place {states[0].place.position}")
        save(checkpoint, states)

    def noted_fsync(file: int) -> None:
        fsync(file)
        steps.append("letters")

    monkeypatch.setattr(Checkpoint, "save", noted_save)
    monkeypatch.setattr(os, "fsync", noted_fsync)
    await Shipping(server.url, *NDJSON, "--dead-letters", tmp_path / "dead").once_with(state, log)
    assert steps == ["place 0", "letters", "place 10"]


async def test_dead_letters_that_cannot_be_written_leave_the_checkpoint_before_them(
    server: Scripted, log: Path, state: Path
) -> None:
    write(log, b"no record")
    shipping = Shipping(server.url, *NDJSON, "--dead-letters", log.parent)
    with pytest.raises(DeadLettersRefused, match=os.strerror(errno.EISDIR)):
        await shipping.once_with(state, log)
    # What nothing keeps is not counted as if it were.
    assert (shipping.totals.rejected, shipping.told) == (0, [])
    (known,) = states_of(state, server.url, *NDJSON)
    assert known.place.position == 0


async def test_a_line_in_several_dead_letters_is_counted_and_told_of_once(
    server: Scripted, log: Path, tmp_path: Path
) -> None:
    dead = tmp_path / "dead"
    long = b'{"id": "' + b"x" * 1_200_000 + b'"}'
    write(log, long, b"no", long)
    shipping = Shipping(server.url, *NDJSON, "--dead-letters", dead)
    totals = await shipping.once(log)
    assert (totals.rejected, totals.lines) == (3, 3)
    assert [told.split(" was not")[0] for told in shipping.told] == [
        f"'{log}' at byte {position:,}" for position in (0, len(long) + 1, len(long) + 4)
    ]
    kept = "".join(letter["text"] for letter in records_of(dead))
    assert kept.encode() == b"\n".join([long, b"no", long, b""])


async def test_a_dead_letter_cut_short_is_told_of_and_those_around_it_are_sent(
    server: Scripted, log: Path, tmp_path: Path
) -> None:
    dead = tmp_path / "dead"
    write(log, b"one", b"two")
    await Shipping(server.url, *NDJSON, "--dead-letters", dead).once(log)
    dead.write_bytes(dead.read_bytes()[:-20])
    cut = Shipping(server.url)
    assert (await cut.resend(dead)).stored == 1
    assert not cut.read_all
    (told,) = cut.told
    assert told.startswith(f"'{dead}' ends in the midst of a dead letter, which is left out: ")
    # As the command is run again, which has no checkpoint.
    await Shipping(server.url, *NDJSON, "--dead-letters", dead).once(log)
    again = Shipping(server.url)
    totals = await again.resend(dead)
    assert (totals.stored, totals.duplicates) == (1, 2)
    assert again.told == [f"line 2 of '{dead}' is no dead letter, and is left out"]


async def test_a_file_that_is_none_of_dead_letters_is_refused(
    server: Scripted, log: Path, tmp_path: Path
) -> None:
    dead = tmp_path / "dead"
    write(log, b"one")
    await Shipping(server.url, *NDJSON, "--dead-letters", dead).once(log)
    whole = dead.read_bytes()
    for wrong in (b"no letter\n" + whole, b"no letter", b"\n" + whole):
        dead.write_bytes(wrong)
        with pytest.raises(DeadLettersRefused, match=r"line 1 of .* is no dead letter"):
            await Shipping(server.url).resend(dead)
    with pytest.raises(DeadLettersRefused, match="No such file"):
        await Shipping(server.url).resend(dead.with_name("none"))
    assert server.bodies == []


async def test_other_options_send_what_was_refused_from_the_start_and_nothing_else_twice(
    server: Scripted, tmp_path: Path, state: Path
) -> None:
    sound, wrong = tmp_path / "sound", tmp_path / "wrong"
    write(sound, b'{"id": "1"}', b'{"id": "2"}')
    write(wrong, b'{"id": "3"}', b'{"key": "4"}')
    fields = ("--time-field", "at")
    await Shipping(server.url, *NDJSON).once_with(state, sound, wrong)
    assert [known.refused for known in states_of(state, server.url, *NDJSON)] == [0, 1]
    # The same options have nothing to send.
    assert (await Shipping(server.url, *NDJSON).once_with(state, sound, wrong)).events == 0
    totals = await Shipping(server.url, *NDJSON, *fields).once_with(state, sound, wrong)
    assert (totals.stored, totals.duplicates) == (0, 2)
    assert [known.refused for known in states_of(state, server.url, *NDJSON)] == [0, 1]
    # Another source is no other way to read records.
    source = ("--source", "app")
    totals = await Shipping(server.url, *NDJSON, *fields, *source).once_with(state, sound, wrong)
    assert totals.events == 0


async def test_lines_that_a_pattern_leaves_out_are_refused_no_more(
    server: Scripted, log: Path, state: Path
) -> None:
    write(log, b"12:00:00 one", b"plain")
    await Shipping(server.url, "--format", "combined").once_with(state, log)
    assert [known.refused for known in states_of(state, server.url, "--format", "combined")] == [2]
    with log.open("ab") as file:
        file.write(b"more\n")
    await Shipping(server.url, "--format", "combined").once_with(state, log)
    assert [known.refused for known in states_of(state, server.url, "--format", "combined")] == [3]
