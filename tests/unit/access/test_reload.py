"""The watch on the tokens file: real files that are changed in each way that people change them."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from aggregator.access.authority import Access
from aggregator.access.reload import TokensWatch
from aggregator.access.tokens_file import TokensFileBroken

Change = Callable[[Path, str], None]


def entry(name: str) -> str:
    return f"[[entry]]\nname = '{name}'\n"


def rename(path: Path, text: str) -> None:
    new = path.with_name("new")
    new.write_text(text)
    new.rename(path)


def write_in_place(path: Path, text: str) -> None:
    path.write_text(text)


def turn_link(path: Path, text: str) -> None:
    """Do as Kubernetes does: the file is a link through a link to a directory, which is turned."""
    data, turned = path.with_name("..data"), path.with_name("..data_tmp")
    directory = path.with_name(f"..{len(list(path.parent.iterdir()))}")
    directory.mkdir()
    (directory / path.name).write_text(text)
    turned.symlink_to(directory.name)
    turned.rename(data)
    if not path.is_symlink():
        path.unlink(missing_ok=True)
        path.symlink_to(Path("..data") / path.name)


class Scene:
    """A tokens file, its watch, and what that tells."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.access = Access()
        self.told: list[str] = []
        self.watch = TokensWatch(path, self.access, self._in_force, self._refused)

    def _in_force(self, sentence: str) -> None:
        self.told.append(sentence)

    def _refused(self, sentence: str) -> None:
        self.told.append(sentence)

    def has(self, *names: str) -> bool:
        """Return whether the entries in force are these."""
        return set(self.access._by_name) == set(names)

    async def look(self, times: int) -> None:
        for _ in range(times):
            await self.watch.look(at_once=False)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A watch on a file with the entry `shop`, which was loaded and looks when it is told to."""
    path = tmp_path / "tokens.toml"
    path.write_text(entry("shop"))
    scene = Scene(path)
    scene.watch.load()
    return scene


@pytest.mark.parametrize("change", [rename, write_in_place, turn_link])
async def test_change_is_in_force_by_itself(scene: Scene, change: Change) -> None:
    for text, names in (
        (entry("shop") + entry("till"), ["shop", "till"]),
        (entry("till"), ["till"]),
        # As long as the one before, and perhaps of the same moment.
        (entry("shop"), ["shop"]),
    ):
        change(scene.path, text)
        await scene.look(2)
        assert scene.has(*names)
    assert scene.told == [
        f"the tokens file '{scene.path}' is in force, with {count}"
        for count in ("2 entries", "1 entry", "1 entry")
    ]


async def test_change_is_taken_when_two_looks_see_the_same(scene: Scene) -> None:
    # Whoever writes in place empties the file first.
    for text in "", entry("shop")[:12], entry("shop") + entry("till"):
        scene.path.write_text(text)
        await scene.look(1)
        assert scene.has("shop")
        assert scene.told == []
    await scene.look(1)
    assert scene.has("shop", "till")
    await scene.look(3)
    assert len(scene.told) == 1
    assert scene.access.generation == 2


async def test_file_without_an_entry_revokes_everything(scene: Scene) -> None:
    scene.path.write_text("")
    await scene.look(2)
    assert scene.has()


@pytest.mark.parametrize("text", ["[[entry]]\n", None])
async def test_broken_or_missing_file_leaves_the_former_in_force_and_is_told_once(
    scene: Scene, text: str | None
) -> None:
    if text is None:
        scene.path.unlink()
    else:
        scene.path.write_text(text)
    await scene.look(5)
    assert scene.has("shop")
    assert len(scene.told) == 1
    assert str(scene.path) in scene.told[0]
    assert scene.told[0].endswith("; what it said before stays in force")
    # Who asks for it is told again.
    await scene.watch.look(at_once=True)
    assert len(scene.told) == 2
    # What is in force already is told, since that was in doubt, and replaces nothing.
    scene.path.write_text(entry("shop"))
    await scene.look(5)
    assert scene.told[2:] == [f"the tokens file '{scene.path}' is in force, with 1 entry"]
    assert scene.access.generation == 1


async def test_other_mistake_is_told_as_well(scene: Scene) -> None:
    for text in "[[entry]]\n", "[entry]\n":
        scene.path.write_text(text)
        await scene.look(3)
    assert len(set(scene.told)) == 2


async def test_reload_takes_a_change_at_once_and_nothing_else(scene: Scene) -> None:
    await scene.watch.look(at_once=True)
    assert scene.told == []
    scene.path.write_text(entry("till"))
    await scene.watch.look(at_once=True)
    assert scene.has("till")
    assert len(scene.told) == 1


async def test_looks_at_the_same_time_take_a_change_once(scene: Scene) -> None:
    for n in range(10):
        scene.path.write_text(entry(f"till-{n}"))
        await asyncio.gather(*(scene.watch.look(at_once=each) for each in [True, False] * 4))
        assert scene.has(f"till-{n}")
        assert len(scene.told) == n + 1
    assert scene.access.generation == 11


async def test_watch_goes_on_when_those_it_tells_fail(scene: Scene) -> None:
    def fail_to_tell(_: str) -> None:
        raise RuntimeError

    scene.watch._on_refused = fail_to_tell
    scene.path.write_text("[entry]\n")
    await scene.look(2)
    scene.path.write_text(entry("till"))
    await scene.look(2)
    assert scene.has("till")


def test_broken_or_missing_file_is_raised_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    watch = TokensWatch(path, Access(), lambda _: None, lambda _: None)
    with pytest.raises(TokensFileBroken, match=r"No such file or directory$"):
        watch.load()
    path.write_text("[[entry]]\n")
    with pytest.raises(TokensFileBroken, match=r"entry 1 has no name$"):
        watch.load()
