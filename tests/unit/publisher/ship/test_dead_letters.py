"""A file of dead letters gives back every one that it has whole, and tells what else it has."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publisher.ship.dead_letters import DeadLetter, DeadLetters, read_dead_letters

CONTENTS = st.lists(st.binary(max_size=8), min_size=1, max_size=3)


def letters_of(contents: list[bytes]) -> list[DeadLetter]:
    return [
        DeadLetter(f"ab-{number}-cd", "web1:app", "app", number, "it is bad", text=repr(content))
        for number, content in enumerate(contents)
    ]


@given(CONTENTS, CONTENTS, st.data())
def test_whatever_is_cut_off_the_end_those_that_are_whole_and_later_ones_come_back(
    before: list[bytes], after: list[bytes], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "dead")
        DeadLetters(path).add(letters_of(before))
        whole = path.read_bytes()
        left = data.draw(st.integers(0, len(whole)))
        path.write_bytes(whole[:left])
        DeadLetters(path).add(letters_of(after))
        found, refused = read_dead_letters(path)
        assert path.read_bytes().startswith(whole[:left])
    ends = [place + 1 for place in range(len(whole)) if whole[place : place + 1] == b"\n"]
    # One that lacks its newline alone has everything.
    kept = sum(end - 1 <= left for end in ends)
    assert found == letters_of(before)[:kept] + letters_of(after)
    is_cut = left and left not in ends and left + 1 not in ends
    assert len(refused) == bool(is_cut)


@pytest.mark.parametrize(
    "wrong",
    [
        {"event_id": "x"},
        {"event_id": "ab-0"},
        {"event_id": "ab-0-c"},
        {"position": "0"},
        {"text_base64": "no base64"},
        {"text": 7},
    ],
)
def test_a_line_of_json_that_no_record_can_be_made_of_is_none(
    tmp_path: Path, wrong: dict[str, object]
) -> None:
    path = tmp_path / "dead"
    DeadLetters(path).add(letters_of([b"one"]))
    letter = json.loads(path.read_bytes()) | wrong
    with path.open("a") as file:
        file.write(json.dumps(letter) + "\n")
    found, refused = read_dead_letters(path)
    assert found == letters_of([b"one"])
    assert refused == [f"line 2 of '{path}' is no dead letter, and is left out"]


@pytest.mark.parametrize("line", [b"", b"\xff", b"[" * 100_000, b'{"x":' * 100_000, b'{"event_id'])
def test_a_line_of_anything_is_none(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "dead"
    DeadLetters(path).add(letters_of([b"one"]))
    path.write_bytes(path.read_bytes() + line + b"\n" + path.read_bytes())
    found, refused = read_dead_letters(path)
    assert found == letters_of([b"one"]) * 2
    assert refused == [f"line 2 of '{path}' is no dead letter, and is left out"]
