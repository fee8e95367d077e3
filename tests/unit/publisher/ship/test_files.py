"""Which logs a command names, as files come and go."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from publisher.ship.checkpoint import Checkpoint, Known
from publisher.ship.files import FollowedLogs, Logs
from publisher.ship.opening import FileRefused
from publisher.ship.recognition import ROTATED_QUIET_S

pytestmark = pytest.mark.usefixtures("no_descriptor_is_left")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Iterator[Checkpoint]:
    with Checkpoint.opened(tmp_path / "state" / "checkpoint", "target") as checkpoint:
        yield checkpoint


class Following:
    """Logs that are followed; what is read is acknowledged at once."""

    def __init__(self, checkpoint: Checkpoint, *names: Path, source: str | None = None) -> None:
        self.logs = FollowedLogs(names, source, checkpoint, 1000)
        self._checkpoint = checkpoint
        self.now = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.logs.close()

    def look(self) -> tuple[list[str], list[tuple[str, bytes]]]:
        """Give what is told, and the lines with their sources."""
        told = self.logs.look()
        lines = []
        for log in self.logs:
            while found := log.read(self.now):
                generation, given = found
                lines += [(log.source, line.piece.data) for line in given]
                known = Known(
                    log.source, generation.content, generation.identity, given[-1].progress
                )
                self._checkpoint.save([known])
                log.note(known)
            assert log.finished(self.now) == [] or self.now
        return told, lines


def open_files() -> list[str]:
    """Where the descriptors of this process lead to."""
    entries = Path("/proc/self/fd").iterdir()
    return [os.readlink(entry) for entry in entries if entry.is_symlink()]  # noqa: PTH115 - text


def named(paths: list[str], directory: Path) -> list[Path]:
    return [directory / path for path in paths]


def test_files_come_in_their_order_and_those_of_a_pattern_are_sorted(tmp_path: Path) -> None:
    for name in ["b.log", "a.log", "c.txt", "[x].log", "x.log"]:
        (tmp_path / name).write_text(f"{name}\n")
    (tmp_path / "d.log").mkdir()
    names = named(["c.txt", "*.log", "a.log", "./c.txt", "[x].log"], tmp_path)
    logs = Logs(names, None, None, 1000)
    assert logs.survey() == len("b.log a.log c.txt [x].log x.log ")
    found = [log.path.name for log in logs.one_by_one()]
    assert found == ["c.txt", "[x].log", "a.log", "b.log", "x.log"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing", "No such file or directory"),
        ("*.missing", "no file matches it"),
        ("", "it is a directory"),
        ("file/below", "Not a directory"),
    ],
)
def test_what_cannot_be_shipped_is_known_at_once(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileRefused) as refused:
        Logs([tmp_path / "file", tmp_path / name], None, None, 1000).survey()
    assert str(refused.value) == f"cannot read {os.fspath(tmp_path / name)!r}: {reason}"


def test_files_that_would_share_ids_are_refused(tmp_path: Path, checkpoint: Checkpoint) -> None:
    for name in "ab":
        (tmp_path / name).write_text(f"heading\nof {name}\n")
    names = named(["a", "b"], tmp_path)
    with pytest.raises(FileRefused, match="have the same source 'app' and the same first line"):
        Logs(names, "app", None, 1000).survey()
    Logs(names, None, None, 1000).survey()
    Logs(names, "app", checkpoint, 1000).survey()


def test_the_same_file_by_two_names_is_one(tmp_path: Path, checkpoint: Checkpoint) -> None:
    (tmp_path / "a").write_bytes(b"one\n")
    (tmp_path / "link").symlink_to("a")
    names = named(["a", "link", "../" + tmp_path.name + "/a"], tmp_path)
    logs = Logs(names, "app", None, 1000)
    logs.survey()
    assert len(list(logs.one_by_one())) == 1
    with Following(checkpoint, *names, source="app") as following:
        assert following.look() == ([], [("app", b"one")])


def test_two_logs_with_one_source_and_the_same_heading(
    tmp_path: Path, checkpoint: Checkpoint
) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(b"heading\n")
    names = named(["a", "b"], tmp_path)
    with Following(checkpoint, *names, source="app") as following:
        assert following.look() == ([], [("app", b"heading")] * 2)
    for name in "ab":
        with (tmp_path / name).open("ab") as file:
            file.write(name.encode() + b"\n")
    with Following(checkpoint, *names, source="app") as following:
        assert following.look() == ([], [("app", b"a"), ("app", b"b")])


def test_files_of_a_pattern_come_and_go(tmp_path: Path, checkpoint: Checkpoint) -> None:
    log, other = tmp_path / "a.log", tmp_path / "b.log"
    log.write_bytes(b"one\n")
    with Following(checkpoint, tmp_path / "*.log") as following:
        assert following.look() == ([], [("a.log", b"one")])
        other.write_bytes(b"two\n")
        assert following.look() == ([], [("b.log", b"two")])
        other.unlink()
        told, lines = following.look()
        assert told == [f"'{other}' is not there"]
        assert lines == []
        following.now += ROTATED_QUIET_S
        assert following.look() == ([], [])
        assert following.look() == ([], [])
        assert [log.path for log in following.logs] == [log]
        log.unlink()
        following.look()
        following.now += ROTATED_QUIET_S
        following.look()
        told, lines = following.look()
        assert told + lines == []
        assert not any(path.endswith(".log (deleted)") for path in open_files())
        other.write_bytes(b"three\n")
        assert following.look() == ([], [("b.log", b"three")])


def test_what_rotation_makes_of_a_log_is_no_log_of_its_own(
    tmp_path: Path, checkpoint: Checkpoint
) -> None:
    (tmp_path / "app.log.1").write_bytes(b"one\n")
    (tmp_path / "app.log").write_bytes(b"two\n")
    with Following(checkpoint, tmp_path / "app.log*") as following:
        assert following.look() == ([], [("app.log", b"one"), ("app.log", b"two")])


def test_what_is_not_there_is_told_once_and_waited_for(
    tmp_path: Path, checkpoint: Checkpoint
) -> None:
    log = tmp_path / "later" / "app.log"
    pattern = tmp_path / "*.none"
    with Following(checkpoint, log, pattern) as following:
        told, _ = following.look()
        assert told == [f"no file matches '{pattern}'", f"'{log}' is not there"]
        assert following.look() == ([], [])
        log.parent.mkdir()
        log.write_bytes(b"one\n")
        assert following.look() == ([], [("app.log", b"one")])
        log.unlink()
        assert following.look() == ([f"'{log}' is not there"], [])


def test_a_log_that_cannot_be_read_is_refused_first_and_waited_for_later(
    tmp_path: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "app.log"
    log.write_bytes(b"one\n")
    real = os.open
    allowed = True

    def opened(file: str | Path, flags: int, *rest: object, **more: object) -> int:
        if not allowed and Path(file).name == "app.log":
            raise PermissionError(13, "Permission denied")
        return real(file, flags, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", opened)
    with Following(checkpoint, log) as following:
        assert following.look() == ([], [("app.log", b"one")])
        log.rename(tmp_path / "app.log.1")
        log.write_bytes(b"two\n")
        allowed = False
        assert following.look() == ([f"cannot read '{log}': Permission denied"], [])
        with (tmp_path / "app.log.1").open("ab") as file:
            file.write(b"late\n")
        assert following.look() == ([], [("app.log", b"late")])
        allowed = True
        assert following.look() == ([], [("app.log", b"two")])
    allowed = False
    with (
        Following(checkpoint, log) as following,
        pytest.raises(FileRefused, match="Permission denied"),
    ):
        following.look()


@pytest.mark.parametrize("name", [b"a\nb.log", b"caf\xe9.log", b"-", b"[a].log"])
def test_any_name_is_followed(tmp_path: Path, checkpoint: Checkpoint, name: bytes) -> None:
    log = tmp_path / os.fsdecode(name)
    log.write_bytes(b"one\n")
    with Following(checkpoint, log) as following:
        told, lines = following.look()
        assert told == []
        assert [line for _, line in lines] == [b"one"]
