"""Migrations are the numbered SQL files of a backend, in the order of their numbers."""

from pathlib import Path

import pytest
from support.backends import BACKENDS

from storage import migrations
from storage.errors import StorageMisconfigured


@pytest.fixture
def twelve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend "other" with twelve steps, written in no order, and other files."""
    directory = tmp_path / "other"
    directory.mkdir()
    for number in (7, 12, 1, 3, 11, 2, 10, 4, 9, 6, 8, 5):
        (directory / f"{number:04}_a_step.sql").write_text(f"SELECT {number}; -- é")
    (directory / "README.txt").write_text("not a step")
    monkeypatch.setattr(migrations, "_DIRECTORY", tmp_path)


@pytest.mark.parametrize("backend", BACKENDS)
def test_steps_are_numbered_from_one_without_a_gap(backend: str) -> None:
    steps = migrations.migrations(backend)
    assert [step.version for step in steps] == list(range(1, len(steps) + 1))
    assert steps


@pytest.mark.usefixtures("twelve")
def test_steps_come_in_the_order_of_their_numbers() -> None:
    assert [(step.version, step.sql) for step in migrations.migrations("other")] == [
        (number, f"SELECT {number}; -- é") for number in range(1, 13)
    ]


@pytest.mark.usefixtures("twelve")
@pytest.mark.parametrize("version", [0, 1, 9, 11, 12])
def test_a_database_lacks_the_steps_behind_its_version(version: int) -> None:
    steps = migrations.pending("other", version)
    assert [step.version for step in steps] == list(range(version + 1, 13))


@pytest.mark.usefixtures("twelve")
def test_a_database_of_a_newer_version_is_refused() -> None:
    with pytest.raises(StorageMisconfigured) as caught:
        migrations.pending("other", 13)
    assert str(caught.value) == (
        "the database has schema version 13, but this program knows only up to 12: use the newer "
        "aggregator that wrote it, or another database"
    )
