"""An entry is added to the tokens file: whole, after what is there, and beside others."""

import os
from itertools import count
from pathlib import Path

import pytest
from support.threads import THREADS, in_threads

from aggregator.access.entry_fields import FieldBroken
from aggregator.access.file_addition import CannotAdd, add_entry
from aggregator.access.tokens_file import TokensFileBroken, load


def entry(name: str, *lines: str) -> str:
    return "\n".join(["[[entry]]", f'name = "{name}"', *lines, ""])


def names(path: Path) -> list[str]:
    return [each.name for each in load(path)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A path at which nothing is yet, in a directory of its own."""
    directory = tmp_path / "access"
    directory.mkdir()
    return directory / "tokens.toml"


def test_file_that_is_not_there_is_made_for_its_owner_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        add_entry(path, entry("shop"))
    finally:
        os.umask(before)
    assert path.read_text() == entry("shop")
    assert path.stat().st_mode & 0o7777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_owner_of_a_file_stays_its_owner(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Only root can give a file away, so that the system is asked to, and no more.
    add_entry(path, entry("shop"))
    given: list[tuple[int, int]] = []
    owner = path.stat()
    values = list(owner)
    values[4:6] = 1234, 567
    stat = Path.stat

    def stat_of_another(at: Path, **options: bool) -> os.stat_result:
        return os.stat_result(values) if at == path else stat(at, **options)

    monkeypatch.setattr(os, "fchown", lambda _, uid, gid: given.append((uid, gid)))
    add_entry(path, entry("till"))
    assert given == []
    monkeypatch.setattr(Path, "stat", stat_of_another)
    add_entry(path, entry("third"))
    assert given == [(1234, 567)]


@pytest.mark.parametrize("there", ["# ours\r\n", "", entry("till"), entry("till")[:-1], "# end"])
def test_what_is_there_stays_byte_for_byte(path: Path, there: str) -> None:
    path.write_bytes(there.encode())
    path.chmod(0o644)
    add_entry(path, entry("shop"))
    added = path.read_bytes()
    assert added.startswith(there.encode())
    assert added.removeprefix(there.encode()).strip() == entry("shop").strip().encode()
    assert names(path)[-1] == "shop"
    assert path.stat().st_mode & 0o7777 == 0o600


def test_link_stays_and_what_it_leads_to_is_changed(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to(Path("access") / "tokens.toml")
    for name in "shop", "till":
        add_entry(link, entry(name))
    assert link.is_symlink()
    assert names(path) == ["shop", "till"]
    assert list(path.parent.iterdir()) == [path]


def test_links_in_a_circle_are_refused(path: Path) -> None:
    path.symlink_to(path)
    # Versions of Python find this out at different places.
    with pytest.raises((CannotAdd, TokensFileBroken), match=r"^can't .*tokens.toml': "):
        add_entry(path, entry("shop"))


def test_several_at_once_lose_nothing(path: Path) -> None:
    numbers = count()

    def add() -> None:
        for _ in range(5):
            add_entry(path, entry(f"shop-{next(numbers)}"))

    in_threads(add)
    assert sorted(names(path)) == sorted(f"shop-{n}" for n in range(5 * THREADS))


def test_name_that_is_there_is_refused(path: Path) -> None:
    add_entry(path, entry("shop"))
    before = path.read_bytes()
    sentence = rf"^the tokens file '{path}' has an entry 'shop' already; choose another name$"
    with pytest.raises(CannotAdd, match=sentence):
        add_entry(path, entry("shop", "read = ['**']"))
    assert path.read_bytes() == before


def test_digest_and_certificate_that_are_there_are_refused(path: Path) -> None:
    lines = [f"sha256 = ['{'a' * 64}']", "certificate = 'CN:shop'"]
    add_entry(path, entry("shop", *lines))
    before = path.read_bytes()
    for line in lines:
        with pytest.raises(CannotAdd, match=rf"^can't add to the .*{path}': entry 'till': "):
            add_entry(path, entry("till", line))
    assert path.read_bytes() == before


def test_broken_file_and_broken_entry_are_refused(path: Path) -> None:
    path.write_text("[[entry]]")
    with pytest.raises(TokensFileBroken, match=r"entry 1 has no name$"):
        add_entry(path, entry("shop"))
    assert path.read_text() == "[[entry]]"
    with pytest.raises(FieldBroken):
        add_entry(path, entry("shop", "reads = []"))


def test_device_and_directory_are_refused(tmp_path: Path) -> None:
    for other in Path(os.devnull), tmp_path:
        with pytest.raises(TokensFileBroken, match=r"it is not a regular file$"):
            add_entry(other, entry("shop"))
    with pytest.raises(CannotAdd, match=r"No such file or directory$"):
        add_entry(tmp_path / "missing" / "tokens.toml", entry("shop"))


@pytest.mark.parametrize("call", ["fsync", "fchmod", "rename"])
def test_addition_that_fails_leaves_the_file_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    add_entry(path, entry("shop"))
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path if call == "rename" else os, call, full)
        with pytest.raises(CannotAdd, match=r"': No space left on device$"):
            add_entry(path, entry("till"))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    add_entry(path, entry("till"))
    assert names(path) == ["shop", "till"]


def test_what_a_killed_addition_left_is_in_nobodys_way(path: Path) -> None:
    add_entry(path, entry("shop"))
    # It was killed before it gave the new file its name.
    path.with_name(".tokens.toml.new").write_text(entry("half")[:10])
    add_entry(path, entry("till"))
    assert list(path.parent.iterdir()) == [path]
    assert names(path) == ["shop", "till"]


def test_content_is_on_disk_before_it_has_the_name_and_the_name_before_the_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def noted_fsync(file: int) -> None:
        happened.append(Path(f"/proc/self/fd/{file}").readlink().name)
        fsync(file)

    def noted_rename(old: Path, new: Path) -> Path:
        happened.append(f"{old.name} -> {new.name}")
        return rename(old, new)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    add_entry(path, entry("shop"))
    assert happened == [".tokens.toml.new", ".tokens.toml.new -> tokens.toml", "access"]
