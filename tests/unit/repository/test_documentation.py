"""What the documentation says of the project's files, tests and settings is so."""

import os
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from aggregator.settings.model import Settings

ROOT = Path(__file__).parents[3]
FOLDERS = (
    "docs",
    "findings",
    "aggregator",
    "storage",
    "publisher",
    "subscriber",
    "benchmarks",
    "tests",
    "k6",
)
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md")),
]
DOCS = ROOT / "docs"
DECISIONS = DOCS / "understand" / "decisions"
TEXTS = {".md", ".py", ".js", ".yml", ".yaml", ".toml", ".ini", ".sql", ".sh"}


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@cache
def prose(page: Path) -> str:
    """A page without its blocks of code and its code spans."""
    text = re.sub(r"^(```+).*?^\1$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"``.+?``|`[^`\n]*`", "", text)


@cache
def anchors(page: Path) -> set[str]:
    """What a link may name behind `#`, as GitHub makes it of the headings."""
    text = re.sub(r"^(```+).*?^\1$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#{1,6} +(.+?)(?: +#+)?$", text, re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def links(page: Path) -> list[tuple[str, str]]:
    """The targets of a page's links and pictures, each with what stands behind its `#`."""
    inline = re.findall(r"\]\(<?([^)\s#>]*)(?:#([^)\s>]*))?[^)]*\)", prose(page))
    references = re.findall(r"^\[[^\]]+\]: +([^\s#]*)(?:#(\S*))?", prose(page), re.MULTILINE)
    sources = re.findall(r'(?:src|href)="([^"#]*)(?:#([^"]*))?"', prose(page))
    return [*inline, *references, *sources]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_test_that_is_named_exists(page: Path) -> None:
    for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text()):
        assert re.search(rf"\bdef {name}\(", (ROOT / path).read_text()), f"{path}::{name}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_to_a_file(page: Path) -> None:
    for target, _ in links(page):
        assert target.startswith("https://") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_into_a_page_names_a_heading_of_it(page: Path) -> None:
    for target, anchor in links(page):
        if anchor and not target.startswith("https://"):
            other = page.parent / target if target else page
            assert anchor in anchors(other), f"{target}#{anchor}"


def test_every_page_that_a_file_names_exists() -> None:
    files = [
        *(path for path in ROOT.iterdir() if path.is_file() and path.name != "CHANGELOG.md"),
        *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*")),
    ]
    missing = {
        f"{named(path)}: {page}"
        for path in files
        if path.is_file() and (path.suffix in TEXTS or path.name == "Dockerfile")
        if DECISIONS not in path.parents
        for page in re.findall(r"\bdocs/[\w./-]+\.(?:md|yml|json|cfg|svg|png)\b", path.read_text())
        if not (ROOT / page).exists()
    }
    assert not missing


def test_the_index_of_the_documentation_links_every_page() -> None:
    index = DOCS / "README.md"
    linked = {(index.parent / target).resolve() for target, _ in links(index)}
    pages = {page for page in DOCS.rglob("*.md") if DECISIONS not in page.parents}
    assert pages - {index} <= linked


def test_every_support_module_has_a_row_in_its_table() -> None:
    folder = ROOT / "tests" / "support"
    rows = re.findall(r"^\| `(\w+)` \| .+ \|$", (folder / "README.md").read_text(), re.MULTILINE)
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert sorted(rows) == sorted(modules)


def test_every_guarantee_names_a_test() -> None:
    text = (ROOT / "docs" / "understand" / "guarantees.md").read_text()
    rows = [line for line in text.splitlines() if re.match(r"\| \*\*\d", line)]
    assert len(rows) == 7
    assert all("::test_" in row for row in rows)


def test_readme_begins_with_a_title_a_sentence_and_the_two_commands() -> None:
    title, sentence, first_block = (ROOT / "README.md").read_text().split("\n\n")[:3]
    assert re.fullmatch(r"# .+", title)
    assert re.fullmatch(r"[^`#]+\.", sentence)
    install = "python3 -m venv .venv && .venv/bin/pip install --quiet"
    assert first_block.splitlines() == [
        "```sh",
        f"{install} . && .venv/bin/python -m aggregator",
        f"{install} tox && .venv/bin/tox",
        "```",
    ]


def test_every_option_in_the_readme_is_a_setting() -> None:
    options = re.findall(r"-m aggregator (.*)", (ROOT / "README.md").read_text())
    for option in re.findall(r"--([a-z-]+)", " ".join(options)):
        assert option == "help" or option.replace("-", "_") in Settings.options()


def test_the_python_in_the_readme_is_what_the_client_page_begins_with() -> None:
    # That page's code is run by the tests of the client.
    readme, page = (
        re.search(r"```python\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)
        for name in ("README.md", "docs/use/client.md")
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
