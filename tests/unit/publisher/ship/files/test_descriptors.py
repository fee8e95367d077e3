"""The limit on descriptors, and files that share what it has room for."""

import resource
from pathlib import Path

import pytest

from publisher.ship.files.descriptors import OpenFiles, raise_soft_limit
from publisher.ship.files.plain_file import PlainFile


@pytest.mark.usefixtures("no_descriptor_is_left")
def test_files_used_longest_ago_are_closed(tmp_path: Path) -> None:
    files = []
    open_files = OpenFiles(2)
    for name in "abcd":
        (tmp_path / name).write_text(name)
        files.append(PlainFile(tmp_path / name))
        open_files.use(files[-1])
    a, b, c, d = files
    assert [file.is_open for file in files] == [False, False, True, True]
    open_files.use(c)
    open_files.use(a)
    assert a.read(0, 10) == b"a"
    assert [file.is_open for file in files] == [True, False, True, False]
    open_files.close(c)
    open_files.use(b)
    assert b.read(0, 10) == b"b"
    assert [file.is_open for file in files] == [True, True, False, False]
    open_files.close(d)
    assert len(open_files) == 2
    open_files.close_all()
    open_files.close_all()
    assert not any(file.is_open for file in files)


@pytest.mark.usefixtures("no_descriptor_is_left")
def test_one_file_is_open_whatever_the_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    file = PlainFile(tmp_path / "a")
    open_files = OpenFiles(0)
    open_files.use(file)
    assert file.is_open
    open_files.close_all()


def test_limit_is_raised_as_far_as_allowed() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        raised = raise_soft_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (raised, hard)
        assert raised == (65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536))
        assert raise_soft_limit() == raised
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_limit_that_the_system_does_not_raise_is_told_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(which: int, limits: tuple[int, int]) -> None:
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, resource.RLIM_INFINITY))
    assert raise_soft_limit() == 256
