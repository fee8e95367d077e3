"""A position in a file: whole at any moment, for one command, and for what it followed."""

import json
import os
from pathlib import Path

import pytest

from subscriber.commands.following.position_file import Followed, PositionFile, PositionFileRefused

ORDERS = Followed("http://127.0.0.1:8080", ["orders"], None)


def test_position_that_was_saved_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "position"
    with PositionFile.opened(path, ORDERS) as file:
        assert file.position is None
        for position in "1", "2":
            file.save(position)
            assert file.position == position
    with PositionFile.opened(path, ORDERS) as file:
        assert file.position == "2"
    assert json.loads(path.read_text()) == {
        "followed": {"url": "http://127.0.0.1:8080", "topics": ["orders"], "source": None},
        "position": "2",
    }
    assert [entry.name for entry in path.parent.iterdir()] == ["position"]


def test_other_command_is_kept_out_before_and_after_a_save(tmp_path: Path) -> None:
    path = tmp_path / "position"
    sentence = rf"^cannot use the position file '{path}': another command is using it$"
    with PositionFile.opened(path, ORDERS) as file:
        for position in "1", "2":
            with (
                pytest.raises(PositionFileRefused, match=sentence),
                PositionFile.opened(path, ORDERS),
            ):
                pass
            file.save(position)
        with pytest.raises(PositionFileRefused, match=sentence), PositionFile.opened(path, ORDERS):
            pass


def test_command_that_opened_the_file_before_a_save_is_kept_out_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "position"
    opened = os.open
    with PositionFile.opened(path, ORDERS) as first:
        first.save("1")
        saved = False

        def and_then_it_is_replaced(name: Path, flags: int, mode: int = 0o777) -> int:
            nonlocal saved
            file = opened(name, flags, mode)
            if name == path and not saved:
                saved = True
                # What the second one has opened is no longer at the path, and free to be locked.
                first.save("2")
            return file

        monkeypatch.setattr(os, "open", and_then_it_is_replaced)
        with pytest.raises(PositionFileRefused, match="another command is using it"):
            PositionFile.opened(path, ORDERS).__enter__()
        assert saved


@pytest.mark.parametrize(
    "text", [b"\x00", b"{}", b"[1]", b'{"position":"1"}', b"\xff", b"17", b"{" * 70_000]
)
def test_foreign_file_is_refused_and_left_as_it_is(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "position"
    path.write_bytes(text)
    sentence = "it is not a position file; remove it, or name another with --position-file$"
    with pytest.raises(PositionFileRefused, match=sentence), PositionFile.opened(path, ORDERS):
        pass
    assert path.read_bytes() == text


@pytest.mark.parametrize(
    ("followed", "shown"),
    [
        (ORDERS.__class__("http://other:1", ["orders"], None), "orders at http://other:1"),
        (
            ORDERS.__class__(ORDERS.url, ["orders", "visits"], "shop"),
            "orders visits from source 'shop' at http://127.0.0.1:8080",
        ),
    ],
)
def test_file_of_something_else_is_refused(tmp_path: Path, followed: Followed, shown: str) -> None:
    path = tmp_path / "position"
    with PositionFile.opened(path, followed) as file:
        file.save("1")
    with pytest.raises(PositionFileRefused) as refused, PositionFile.opened(path, ORDERS):
        pass
    assert str(refused.value) == (
        f"cannot use the position file '{path}': it is that of {shown}, "
        "not of orders at http://127.0.0.1:8080; name another with --position-file"
    )


def test_device_is_refused_before_it_is_replaced() -> None:
    sentence = rf"^cannot use the position file '{os.devnull}': it is not a regular file"
    with (
        pytest.raises(PositionFileRefused, match=sentence),
        PositionFile.opened(Path(os.devnull), ORDERS),
    ):
        pass


def test_save_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "position"
    with PositionFile.opened(path, ORDERS) as file:
        file.save("1")
        before = path.read_bytes()

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(PositionFileRefused, match=r"': No space left on device$"):
                file.save("2")
        assert path.read_bytes() == before
        file.save("3")
    with PositionFile.opened(path, ORDERS) as file:
        assert file.position == "3"


def test_link_is_followed(tmp_path: Path) -> None:
    path, link = tmp_path / "position", tmp_path / "link"
    link.symlink_to(path)
    with PositionFile.opened(link, ORDERS) as file:
        file.save("1")
    assert link.is_symlink()
    assert json.loads(path.read_text())["position"] == "1"
