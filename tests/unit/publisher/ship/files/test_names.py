"""Names of files, held against the standard library's glob on any tree."""

import glob
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from publisher.ship.files import look
from publisher.ship.files.names import Found, Names

pytestmark = pytest.mark.usefixtures("no_descriptor_is_left")

_PARTS = ["a", "b", "a.log", "B.log", ".a", ".b.log", "[a]", "a\nb", "caf\udce9"]
_PATTERNS = [*_PARTS, "*", "?", "**", "*.log", ".*", "[ab]", "[!a]*", "[a", "a**", "..", "*b*"]

relative = st.lists(st.sampled_from(_PARTS), min_size=1, max_size=3).map("/".join)
patterns = st.lists(st.sampled_from(_PATTERNS), min_size=1, max_size=4).filter(
    lambda parts: parts.count("**") < 3
)
targets = st.one_of(relative, st.builds("../{}".format, relative), st.just("."), st.just(".."))


def build(
    root: Path, directories: list[str], files: list[str], links: list[tuple[str, str]]
) -> None:
    for name in directories:
        if not any(
            part.exists() and not part.is_dir() for part in (root / name, *(root / name).parents)
        ):
            (root / name).mkdir(parents=True, exist_ok=True)
    for name in files:
        if (root / name).parent.is_dir() and not (root / name).exists():
            (root / name).touch()
    for name, target in links:
        if (root / name).parent.is_dir() and not os.path.lexists(root / name):
            (root / name).symlink_to(target)


@given(
    directories=st.lists(relative, max_size=5),
    files=st.lists(relative, max_size=8),
    # Through more than one circle glob goes for days.
    links=st.lists(st.tuples(relative, targets), max_size=1),
    pattern=patterns,
    is_relative=st.booleans(),
)
@example(["a", "b"], ["a/a.log", "b/B.log"], [("a/b", "../b")], ["**", "*.log"], True)
@example(["a/b"], ["a/a.log"], [("a/b/a", "..")], ["**", "b", "**", "*.log"], False)
@example(["a", ".a"], ["a/.b.log", ".a/a.log", "a/a.log"], [], ["**", "*.log"], True)
@example([".a"], [".a/.b.log", ".a/a.log", "a.log"], [], [".*", ".*"], True)
@example(["a"], ["a/.b.log", "a/a.log"], [(".a", "a")], ["*", "*"], True)
@example(["a"], ["a/a.log"], [("b", "a/a.log")], ["*", "..", "*"], False)
@example([], ["a"], [], ["a", "**"], False)
def test_files_are_those_of_glob(
    tmp_path_factory: pytest.TempPathFactory,
    directories: list[str],
    files: list[str],
    links: list[tuple[str, str]],
    pattern: list[str],
    is_relative: bool,
) -> None:
    # What leads upwards, four parts of a pattern and a link, ends above it in empty directories.
    root = tmp_path_factory.mktemp("tree").resolve() / "1/2/3/4/5/6"
    root.mkdir(parents=True)
    build(root, directories, files, links)
    name = os.fspath(Path("" if is_relative else root, *pattern))
    here = Path.cwd()
    os.chdir(root)
    try:
        found = Names([name]).find()
        if glob.has_magic(name) and not os.path.lexists(name):
            matches = glob.glob(name, recursive=True)  # noqa: PTH207 - the reference
            # Of a file `a` and the pattern `a/**` it gives `a/`, which leads nowhere.
            leads = filter(os.path.isfile, matches)
            expected = sorted({Path(os.path.realpath(path)) for path in leads})
        else:
            expected = [Path(os.path.realpath(name))] if Path(name).exists() else []
    finally:
        os.chdir(here)
    assert found.paths == expected
    assert len(found.unmatched) == (not expected)


@given(
    directories=st.lists(relative, max_size=5),
    files=st.lists(relative, max_size=5),
    links=st.lists(st.tuples(relative, targets), max_size=6),
    name=st.lists(st.sampled_from([*_PARTS, ".."]), min_size=1, max_size=5).map("/".join),
)
def test_real_path_is_that_of_the_standard_library(
    tmp_path_factory: pytest.TempPathFactory,
    directories: list[str],
    files: list[str],
    links: list[tuple[str, str]],
    name: str,
) -> None:
    # What leads upwards, four parts of a pattern and a link, ends above it in empty directories.
    root = tmp_path_factory.mktemp("tree").resolve() / "1/2/3/4/5/6"
    root.mkdir(parents=True)
    build(root, directories, files, links)
    path = f"{root}/{name}"
    real, is_there = look.Look().path(path)
    assert is_there == Path(path).exists()
    if is_there:
        assert real == os.path.realpath(path)


def found(root: Path, *names: str) -> Found:
    paths, unmatched = Names([root / name for name in names]).find()
    return Found(
        [path.relative_to(root) for path in paths],
        [sentence.replace(f"{root}/", "") for sentence in unmatched],
    )


def test_files_come_in_the_order_of_the_arguments_and_each_once(tmp_path: Path) -> None:
    for name in ["b.log", "a.log", "c.txt", "[x].log", "x.log", "d-e/f.log", "d/f.log"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link.log").symlink_to("b.log")
    (tmp_path / "e.log").mkdir()
    os.mkfifo(tmp_path / "pipe.log")
    names = ["c.txt", "d*/*.log", "*.log", "a.log", "d/../c.txt", "[x].log", "e.log", "pipe.log"]
    paths, unmatched = found(tmp_path, *names)
    expected = ["c.txt", "d/f.log", "d-e/f.log", "[x].log", "a.log", "b.log", "x.log"]
    assert [os.fspath(path) for path in paths] == [*expected, "e.log", "pipe.log"]
    assert unmatched == []
    assert found(tmp_path, "[x].log").paths == [Path("[x].log")]


def test_what_leads_nowhere_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nothing")
    (tmp_path / "circle").symlink_to("circle")
    names = ["missing", "*.missing", "file", "file/below", "file/*", "link", "circle", "l*"]
    assert found(tmp_path, *names) == (
        [Path("file")],
        [
            "'missing' is not there",
            "no file matches '*.missing'",
            "'file/below' is not there",
            "no file matches 'file/*'",
            "'link' is not there",
            "'circle' is not there",
            "no file matches 'l*'",
        ],
    )


@pytest.fixture
def shut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shut what has `shut` in its name, as root too would find it on a network file system."""

    def guarded(function: Callable[..., object]) -> Callable[..., object]:
        def call(path: str, *rest: object, **named: object) -> object:
            if "/shut" in os.fspath(path):
                raise PermissionError(13, "Permission denied", path)
            return function(path, *rest, **named)

        return call

    monkeypatch.setattr(look.os, "scandir", guarded(os.scandir))  # type: ignore[attr-defined]
    monkeypatch.setattr(look.os, "stat", guarded(os.stat))  # type: ignore[attr-defined]


@pytest.mark.usefixtures("shut")
def test_what_may_not_be_looked_at_is_told_once(tmp_path: Path) -> None:
    for name in ["a/1.log", "shut/2.log", "z/3.log"]:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    (tmp_path / "a" / "link.log").symlink_to("../shut/2.log")
    listed = "cannot list 'shut': Permission denied"
    linked = "cannot look at 'a/link.log': Permission denied"
    paths, unmatched = found(tmp_path, "*/*.log", "**/*.log")
    assert (paths, sorted(unmatched)) == ([Path("a/1.log"), Path("z/3.log")], [listed, linked])
    paths, unmatched = found(tmp_path, "shut/2.log", "shut/*.log")
    assert (paths, sorted(unmatched)) == (
        [],
        [listed, "cannot look at 'shut/2.log': Permission denied"],
    )
    # Of another pattern nobody knows either, though the directory is listed once.
    assert found(tmp_path, "shut/*.log", "shut/*.txt", "a/*.txt").unmatched == [
        "no file matches 'a/*.txt'",
        listed,
    ]


def test_what_is_open_and_has_no_path_is_told_of_as_what_it_is(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    path = tmp_path / "gone"
    gone = os.open(path, os.O_RDONLY | os.O_CREAT)
    path.unlink()
    names = [f"/dev/fd/{reading}", f"/dev/fd/{gone}"]
    through = "send it through standard input, as -"
    try:
        assert Names(names).find().unmatched == [
            f"cannot read '{names[0]}': it is a pipe, not a file; {through}",
            f"cannot read '{names[1]}': it has no name any more; {through}",
        ]
    finally:
        for file in (reading, writing, gone):
            os.close(file)


def watched(root: Path, *names: str) -> set[str]:
    directories = Names([root / name for name in names]).directories()
    return {os.fspath(path.relative_to(root)) for path in directories}


def test_directories_are_those_that_decide_on_what_is_found(tmp_path: Path) -> None:
    for name in ["logs/a/1.log", "logs/b/c/2.log", "else/3.log", "app-1/logs/4.log", "far/5.log"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "current").symlink_to("app-1")
    (tmp_path / "logs" / "far.log").symlink_to("../second.log")
    (tmp_path / "second.log").symlink_to("far/5.log")
    assert watched(tmp_path, "else/3.log") == {"else"}
    assert watched(tmp_path, "else/*.log") == {"else"}
    assert watched(tmp_path, "logs/*/*.log") == {"logs", "logs/a", "logs/b"}
    assert watched(tmp_path, "logs/*/c/*.log") == {"logs", "logs/a", "logs/b", "logs/b/c"}
    assert watched(tmp_path, "logs/b/**/2.log") == {"logs/b", "logs/b/c"}
    assert (
        watched(tmp_path, "logs/*.log") == watched(tmp_path, "logs/far.log") == {"logs", ".", "far"}
    )
    assert watched(tmp_path, "current/logs/*.log") == {".", "app-1/logs"}
    assert watched(tmp_path, "current/logs/4.log") == {".", "app-1/logs"}
    assert watched(tmp_path, "none/below/*.log") == {"."}
    assert watched(tmp_path, "logs/none/below.log") == {"logs"}


def test_files_that_come_and_go_are_seen(tmp_path: Path) -> None:
    names = Names([tmp_path / "*.log", tmp_path / "**" / "b"])
    assert len(names.find().paths) == 0
    (tmp_path / "a.log").touch()
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "b").touch()
    first = names.find()
    assert first.paths == [tmp_path / "a.log", tmp_path / "c" / "b"]
    assert len(first.unmatched) == 0
    assert names.directories() == [tmp_path, tmp_path / "c"]
    assert names.find().paths[0] is first.paths[0]
    (tmp_path / "a.log").unlink()
    assert names.find().paths == [tmp_path / "c" / "b"]


def test_working_directory_with_characters_of_patterns_is_no_pattern(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "[a]*"
    here.mkdir()
    (here / "x.log").touch()
    monkeypatch.chdir(here)
    assert Names(["*.log", "x.log"]).find() == ([here / "x.log"], [])
