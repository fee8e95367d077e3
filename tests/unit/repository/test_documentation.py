"""What the documentation says of the project's files, tests and settings is so."""

import os
import re
from pathlib import Path

import pytest

from aggregator.settings.model import Settings

ROOT = Path(__file__).parents[3]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "findings" / "README.md",
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_is_named_exists(page: Path) -> None:
    for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text()):
        assert re.search(rf"\bdef {name}\(", (ROOT / path).read_text()), f"{path}::{name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_every_guarantee_names_a_test() -> None:
    text = (ROOT / "docs" / "guarantees.md").read_text()
    rows = [line for line in text.splitlines() if re.match(r"\| \*\*\d", line)]
    assert len(rows) == 6
    assert all("::test_" in row for row in rows)


def test_every_option_in_the_readme_is_a_setting() -> None:
    options = re.findall(r"-m aggregator (.*)", (ROOT / "README.md").read_text())
    for option in re.findall(r"--([a-z-]+)", " ".join(options)):
        assert option == "help" or option.replace("-", "_") in Settings.options()


def test_the_python_in_the_readme_is_what_the_client_page_begins_with() -> None:
    # That page's code is run by the tests of the client.
    readme, page = (
        re.search(r"```python\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)
        for name in ("README.md", "docs/client.md")
    )
    assert readme
    assert page
    assert readme[1].replace("stored 2", "stored 1") == page[1]


def test_every_finding_is_a_script_that_can_be_run_and_has_its_row() -> None:
    folder = ROOT / "findings"
    scripts = sorted(folder.glob("*.sh"))
    rows = re.findall(r"^\| \[.+?\]\((.+?)\)", (folder / "README.md").read_text(), re.MULTILINE)
    assert rows == [script.name for script in scripts]
    assert all(os.access(script, os.X_OK) for script in scripts)


def test_every_environment_that_is_named_exists() -> None:
    defined = re.findall(r"^\[testenv:(.+)\]", (ROOT / "tox.ini").read_text(), re.MULTILINE)
    named = {
        name
        for page in PAGES
        for name in re.findall(r"tox (?:devenv )?-e ([\w-]+)", page.read_text())
    }
    assert named <= {*defined, "py"}
