"""The import rules of pyproject.toml refuse what they forbid, as a copy of the tree shows."""

import itertools
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytestmark = pytest.mark.usefixtures("processes")

ROOT = Path(__file__).parents[3]
RULES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
CONTRACTS = RULES["contracts"]
LINT_IMPORTS = "from importlinter.cli import lint_imports_command; lint_imports_command()"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the packages that a test may change."""
    return copy_to(tmp_path)


@pytest.fixture(scope="module")
def in_the_tree(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str]]:
    """What is refused in the tree as it is: nothing, or no other test here says anything."""
    return refused(copy_to(tmp_path_factory.mktemp("tree")), *CONTRACTS).pairs


def copy_to(directory: Path) -> Path:
    for package in RULES["root_packages"]:
        shutil.copytree(
            ROOT / package, directory / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    return directory


class Refused(NamedTuple):
    """What lint-imports has against a copy."""

    pairs: set[tuple[str, str]]
    """Who imports and what is imported, as the contracts call them."""
    said: str


def refused(copy: Path, *contracts: dict[str, Any]) -> Refused:
    """Runs lint-imports with these contracts alone."""
    options = {key: value for key, value in RULES.items() if key != "contracts"}
    tables = [f"[tool.importlinter]\n{toml(options)}"]
    tables += [f"[[tool.importlinter.contracts]]\n{toml(contract)}" for contract in contracts]
    rules = copy / "rules.toml"
    rules.write_text("".join(tables))
    done = subprocess.run(
        [sys.executable, "-c", LINT_IMPORTS, "--config", rules, "--no-cache"],
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
    )
    said = re.sub(r"\s+", " ", done.stdout)
    assert done.returncode == (0 if " 0 broken" in said else 1), done.stdout + done.stderr
    return Refused(set(re.findall(r"([\w.]+) is not allowed to import ([\w.]+):", said)), said)


def toml(table: dict[str, Any]) -> str:
    """A table of strings, flags and lists of strings."""
    lines = []
    for key, value in table.items():
        written = str(value).lower() if isinstance(value, bool) else repr(value)
        lines.append(f"{key} = {written}\n")
    return "".join(lines)


def add(copy: Path, importer: str, imported: str) -> None:
    """Let a module import another one, at its end."""
    path = copy / importer.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    with file.open("a") as source:
        source.write(f"\nimport {imported}\n")


def forbidden(contract: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Imports of which a contract forbids every one: who imports what."""
    if contract["type"] == "forbidden":
        yield from itertools.product(contract["source_modules"], contract["forbidden_modules"])
    elif contract["type"] == "independence":
        yield from itertools.permutations(contract["modules"], 2)
    else:
        for container in contract.get("containers", [""]):
            layers = [
                [".".join(filter(None, (container, name))) for name in re.split(" [|:] ", layer)]
                for layer in contract["layers"]
            ]
            for higher, lower in itertools.pairwise(layers):
                yield from itertools.product(lower, higher)
            for layer, names in zip(contract["layers"], layers, strict=True):
                if "|" in layer:
                    yield from itertools.permutations(names, 2)


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract["name"])
def test_every_import_that_a_contract_forbids_is_refused(
    copy: Path, in_the_tree: set[tuple[str, str]], contract: dict[str, Any]
) -> None:
    expected = set(forbidden(contract))
    assert expected
    for importer, imported in expected:
        add(copy, importer, imported)
    pairs, said = refused(copy, contract)
    assert expected <= pairs - in_the_tree, said


@pytest.mark.parametrize(
    "contract",
    [contract for contract in CONTRACTS if contract.get("exhaustive")],
    ids=lambda contract: contract["name"],
)
def test_a_module_without_a_place_among_the_layers_is_refused(
    copy: Path, contract: dict[str, Any]
) -> None:
    for container in contract["containers"]:
        (copy / container / "somewhere.py").write_text("")
        said = refused(copy, contract).said
        assert " 1 broken" in said
        assert f"{container}.somewhere" in said


def test_there_is_a_folder_or_a_file_for_every_name_in_the_rules() -> None:
    """lint-imports itself passes over a forbidden module that is not there."""
    for contract in CONTRACTS:
        for importer, imported in forbidden(contract):
            for name in (importer, imported):
                if name.partition(".")[0] in RULES["root_packages"]:
                    path = ROOT / name.replace(".", "/")
                    assert path.is_dir() or path.with_suffix(".py").is_file(), name
