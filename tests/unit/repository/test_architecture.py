"""docs/understand/architecture.md: its tree is the files, its import rules are the contracts."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "understand" / "architecture.md").read_text()
LISTED_WHOLE = ("aggregator", "storage", "subscriber")


def listed() -> list[str]:
    """The paths of the page's tree, folders with a `/` at the end."""
    (tree,) = re.findall(r"^```\n(aggregator/\n.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    paths: list[str] = []
    parents: list[str] = []
    for line in tree.splitlines():
        indent, name = re.match(r"( *)(\S+)", line).groups()  # type: ignore[union-attr]
        del parents[len(indent) // 2 :]
        parents.append(name)
        paths.append("".join(parents))
    return paths


def existing(package: str) -> set[str]:
    """The modules of a package and the folders that hold them."""
    modules = {
        path.relative_to(ROOT)
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py"
    }
    folders = {path.relative_to(ROOT).parent for path in (ROOT / package).rglob("__init__.py")}
    return {str(module) for module in modules} | {f"{folder}/" for folder in folders}


def test_tree_lists_every_module_and_folder() -> None:
    files = set().union(*map(existing, LISTED_WHOLE))
    shown = {path for path in listed() if path.startswith(LISTED_WHOLE)}
    assert sorted(files - shown) == [], "files that the tree lacks"
    assert sorted(shown - files) == [], "lines of the tree without a file"


def test_tree_lists_nothing_twice_and_nothing_that_is_not_there() -> None:
    paths = listed()
    assert len(paths) == len(set(paths))
    outside = [path for path in paths if not path.startswith(LISTED_WHOLE)]
    assert [path for path in outside if not (ROOT / path).exists()] == []


def test_tree_gives_every_line_a_purpose_except_the_tops() -> None:
    (tree,) = re.findall(r"^```\n(aggregator/\n.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    bare = [line for line in tree.splitlines() if not re.match(r" *\S+ {2,}\S", line)]
    assert bare == ["aggregator/", "storage/", "subscriber/", "tests/"]


def test_import_rules_are_the_contracts() -> None:
    rules = PAGE.split("\n## Import rules\n")[1].split("\n## ")[0]
    named = re.findall(r"^\| ([^|]+?) \|", rules, re.MULTILINE)[1:]
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = configuration["tool"]["importlinter"]["contracts"]
    assert named == [contract["name"] for contract in contracts]


def test_rooms_to_come_are_not_there_yet() -> None:
    coming = PAGE.split("\n## What comes, and where it goes\n")[1].split("\n## ")[0]
    rooms = re.findall(r"`((?:aggregator|storage|subscriber)/[\w*/.]*)`", coming)
    assert "aggregator/wire/formats/" in rooms
    assert [room for room in rooms if any(ROOT.glob(room.rstrip("/")))] == []
