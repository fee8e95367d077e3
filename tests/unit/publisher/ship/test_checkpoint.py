"""A checkpoint only goes forward, is whole after a kill, and belongs to one command."""

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from publisher.ship import checkpoint as module
from publisher.ship.checkpoint import Checkpoint, CheckpointRefused, Known
from publisher.ship.lineage import Progress

ROOT = Path(__file__).parents[4]
KILLED = """
import sys
from pathlib import Path
from publisher.ship.checkpoint import Checkpoint, Known
from publisher.ship.lineage import Progress
with Checkpoint.opened(Path(sys.argv[1]), "target") as checkpoint:
    position = 0
    while True:
        position += 1
        progress = Progress("", position, b"chain", "f", b"head", b"%d" % position)
        checkpoint.save([Known("app", name, (1, 2), progress) for name in ("one", "two")])
        print(position, flush=True)
"""


def known(position: int, content: str = "content", source: str = "app") -> Known:
    progress = Progress(
        "1", position, b"chain %d" % position, "fingerprint", b"head", b"\0tail\xff"
    )
    return Known(source, content, (7, 2**62), progress)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "checkpoint"


def test_what_was_saved_is_known_again(path: Path) -> None:
    with Checkpoint.opened(path, "target") as checkpoint:
        assert checkpoint.known("app") == []
        checkpoint.save([known(5), known(1, "second")])
        checkpoint.save([known(9, source="other")])
    with Checkpoint.opened(path, "target") as checkpoint:
        assert checkpoint.known("app") == [known(5), known(1, "second")]
        assert checkpoint.known("other") == [known(9, source="other")]
    with Checkpoint.opened(path, "another target") as checkpoint:
        assert checkpoint.known("app") == []


def test_a_position_is_never_taken_back(path: Path) -> None:
    with Checkpoint.opened(path, "target") as checkpoint:
        checkpoint.save([known(5)])
        checkpoint.save([known(4)])
        assert checkpoint.known("app") == [known(5)]
        checkpoint.save([known(6)])
        assert checkpoint.known("app") == [known(6)]


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
        first, second = checkpoint.known("app")
    # It may have been killed between the saving and the saying.
    assert first.progress.position in {last, last + 1}
    assert first.progress == second.progress
    assert first.progress.tail == b"%d" % first.progress.position


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
        assert checkpoint.known("app") == [known(1)]


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
        assert len(checkpoint.known("app")) == 2


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
    database.execute("PRAGMA user_version = 2")
    database.close()
    before = path.read_bytes()
    assert "has version 2, this program knows 1" in refusal_of(path)
    assert path.read_bytes() == before


def test_a_damaged_checkpoint_is_refused_in_a_sentence(path: Path) -> None:
    with Checkpoint.opened(path, "target") as checkpoint:
        checkpoint.save([known(position, f"content {position}") for position in range(1, 200)])
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    with (
        pytest.raises(CheckpointRefused, match="malformed"),
        Checkpoint.opened(path, "target") as checkpoint,
    ):
        checkpoint.known("app")


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refusal_of(tmp_path / "file" / "checkpoint").endswith("File exists")
    assert "unable to open database file" in refusal_of(tmp_path)


def test_what_is_long_gone_is_forgotten(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Checkpoint.opened(path, "target") as checkpoint:
        checkpoint.save([known(1, f"{number}") for number in range(5)])
        checkpoint.save([known(1, source="other")])
    monkeypatch.setattr(module, "_KEPT_PER_SOURCE", 3)
    with Checkpoint.opened(path, "target") as checkpoint:
        assert [entry.content for entry in checkpoint.known("app")] == ["2", "3", "4"]
        assert len(checkpoint.known("other")) == 1
