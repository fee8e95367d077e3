"""A checkpoint is whole after a kill, and belongs to one command and one target."""

import os
import resource
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from publisher.ship.files import checkpoint as module
from publisher.ship.files.checkpoint import Checkpoint, CheckpointRefused
from publisher.ship.files.identity import FileIdentity
from publisher.ship.files.state import ContentState, Place

ROOT = Path(__file__).parents[5]
KILLED = """
import sys
from pathlib import Path
from publisher.ship.files.checkpoint import Checkpoint
from publisher.ship.files.identity import FileIdentity
from publisher.ship.files.state import ContentState, Place
states = [ContentState(name, "app", "web1", FileIdentity(1, 2, 3)) for name in ("one", "two")]
with Checkpoint.opened(Path(sys.argv[1]), "target") as checkpoint:
    position = 0
    while True:
        position += 1
        for state in states:
            state.place = Place(position, b"chain", b"head", b"%d" % position)
        checkpoint.save(states)
        print(position, flush=True)
"""


def known(position: int, path: str = "/var/log/app.log", *, ended: bool = False) -> ContentState:
    return ContentState(
        path=path,
        source="web1:app",
        host="web1",
        identity=FileIdentity(2**64 - 1, 2**63, 1_700_000_000_000_000_000),
        start=b"start",
        name="name",
        place=Place(position, b"chain %d" % position, b"head", b"\0tail\xff"),
        size=2**40,
        changed_ns=7,
        refused=3,
        options="options",
        ended=ended,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint"


def test_what_was_saved_is_known_again(path: Path) -> None:
    of_any_bytes = known(1, os.fsdecode(b"/caf\xe9"))
    unborn = known(2)
    unborn.identity = FileIdentity(1, 2, None)
    with Checkpoint.opened(path, "target") as checkpoint:
        assert checkpoint.contents() == []
        saved = [known(5), of_any_bytes, unborn]
        checkpoint.save(saved)
        assert [state.number for state in saved] == [1, 2, 3]
    with Checkpoint.opened(path, "another target") as checkpoint:
        assert checkpoint.contents() == []
        checkpoint.save([known(9)])
    with Checkpoint.opened(path, "target") as checkpoint:
        assert checkpoint.contents() == saved


def test_what_is_saved_again_takes_the_place_of_what_was(path: Path) -> None:
    with Checkpoint.opened(path, "target") as checkpoint:
        first, second = known(5), known(6)
        checkpoint.save([first, second])
        first.place = Place(0, b"start")
        second.ended = True
        checkpoint.save([second, first])
        assert checkpoint.contents() == [first, second]


def test_cursors_are_kept_by_journal_and_target(path: Path) -> None:
    with Checkpoint.opened(path, "target") as checkpoint:
        assert checkpoint.cursor("journal") is None
        checkpoint.save_cursor("journal", "one")
        checkpoint.save_cursor("journal", "two")
        checkpoint.save_cursor("journal --unit=a", "three")
    with Checkpoint.opened(path, "target") as checkpoint:
        assert checkpoint.cursor("journal") == "two"
        assert checkpoint.cursor("journal --unit=a") == "three"
    with Checkpoint.opened(path, "another target") as checkpoint:
        assert checkpoint.cursor("journal") is None


@pytest.mark.usefixtures("processes")
def test_a_killed_command_leaves_what_it_saved_last(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, path], cwd=ROOT, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        for _ in range(20):
            last = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        last = max([last, *map(int, process.stdout.read().split())])
    with Checkpoint.opened(path, "target") as checkpoint:
        first, second = checkpoint.contents()
    # It may have been killed between the saving and the saying.
    assert first.place.position in {last, last + 1}
    assert first.place == second.place
    assert first.place.tail == b"%d" % first.place.position


@pytest.mark.parametrize("is_new", [True, False])
def test_a_second_command_is_refused_in_a_sentence(path: Path, is_new: bool) -> None:
    if not is_new:
        with Checkpoint.opened(path, "target"):
            pass
    with Checkpoint.opened(path, "target") as checkpoint:
        with pytest.raises(CheckpointRefused) as refused, Checkpoint.opened(path, "target"):
            pass
        assert str(refused.value) == (
            f"cannot use the checkpoint '{path}': another command is using it"
        )
        checkpoint.save([known(1)])
    with Checkpoint.opened(path, "target") as checkpoint:
        assert [state.place for state in checkpoint.contents()] == [known(1).place]


@pytest.mark.usefixtures("processes")
def test_a_second_process_is_refused_until_the_first_is_killed(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, path], cwd=ROOT, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with (
            pytest.raises(CheckpointRefused, match="another command"),
            Checkpoint.opened(path, "target"),
        ):
            pass
        process.kill()
    with Checkpoint.opened(path, "target") as checkpoint:
        assert len(checkpoint.contents()) == 2


def refusal_of(path: Path) -> str:
    with pytest.raises(CheckpointRefused) as refused, Checkpoint.opened(path, "target"):
        pass
    sentence = str(refused.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize("content", [b"short", b"a log of another program\n" * 100])
def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "app.log"
    path.write_bytes(content)
    assert "it is not a checkpoint" in refusal_of(path)
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_foreign_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE events (id)")
    database.close()
    before = path.read_bytes()
    assert "is another program's database, not a checkpoint" in refusal_of(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_of_another_version_is_refused(path: Path) -> None:
    with Checkpoint.opened(path, "target") as checkpoint:
        checkpoint.save([known(1)])
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 3")
    database.close()
    before = path.read_bytes()
    assert "has version 3, this program knows 2" in refusal_of(path)
    assert path.read_bytes() == before


def test_a_damaged_checkpoint_is_refused_in_a_sentence(path: Path) -> None:
    with Checkpoint.opened(path, "target") as checkpoint:
        checkpoint.save([known(position, f"/{position}") for position in range(1, 200)])
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    with (
        pytest.raises(CheckpointRefused, match="it is damaged; remove it, which costs"),
        Checkpoint.opened(path, "target") as checkpoint,
    ):
        checkpoint.contents()


def test_a_checkpoint_without_its_tables_is_damaged(path: Path) -> None:
    with Checkpoint.opened(path, "target"):
        pass
    database = sqlite3.connect(path)
    database.execute("DROP TABLE contents")
    database.close()
    assert "it is damaged; remove it" in refusal_of(path)


def test_a_place_without_its_directory_is_refused_and_none_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for directory in (tmp_path / "file", tmp_path / "mistyped", tmp_path / "mistyped" / "below"):
        sentence = refusal_of(directory / "checkpoint")
        assert f"there is no directory '{directory}'; make it" in sentence
    assert refusal_of(tmp_path).endswith("it is a directory; name a file with --checkpoint")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_disk_without_room_or_with_an_error_is_told_in_a_sentence(path: Path) -> None:
    states = [known(position, f"/{position}") for position in range(200)]
    with Checkpoint.opened(path, "target") as checkpoint:
        checkpoint._database.execute("PRAGMA max_page_count = 1")
        with pytest.raises(CheckpointRefused, match="there is no space for it; make room, and"):
            checkpoint.save(states)
    path.unlink()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Checkpoint.opened(path, "target") as checkpoint:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
        try:
            with pytest.raises(CheckpointRefused, match="its disk cannot be read or written; once"):
                checkpoint.save(states)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_checkpoint_that_may_not_be_written_is_told_in_a_sentence(path: Path) -> None:
    # Root may write everything, so the error is that of a connection which reads only.
    sqlite3.connect(path).close()
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    with pytest.raises(sqlite3.OperationalError) as refused:
        database.execute("CREATE TABLE a (b)")
    database.close()
    sentence = str(CheckpointRefused.of(path, refused.value))
    assert sentence == (
        f"cannot use the checkpoint '{path}': it cannot be opened and written; give this user the "
        "right to, also in its directory, or name another file with --checkpoint"
    )


def test_what_ended_long_ago_is_forgotten(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Checkpoint.opened(path, "target") as checkpoint:
        checkpoint.save([known(0)])
        checkpoint.save([known(number, ended=True) for number in range(1, 6)])
    with Checkpoint.opened(path, "other") as checkpoint:
        checkpoint.save([known(7, ended=True)])
    monkeypatch.setattr(module, "_KEPT_ENDED", 3)
    with Checkpoint.opened(path, "target") as checkpoint:
        assert [state.place.position for state in checkpoint.contents()] == [0, 3, 4, 5]
    with Checkpoint.opened(path, "other") as checkpoint:
        assert len(checkpoint.contents()) == 1


def test_saving_in_several_threads_is_one_after_the_other(path: Path) -> None:
    states = [known(0, f"/{number}") for number in range(8)]
    with Checkpoint.opened(path, "target") as checkpoint, ThreadPoolExecutor(8) as pool:
        checkpoint.save(states)

        def save(state: ContentState) -> None:
            for position in range(20):
                state.place = Place(position, b"chain")
                checkpoint.save([state])

        list(pool.map(save, states))
        assert checkpoint.contents() == states
