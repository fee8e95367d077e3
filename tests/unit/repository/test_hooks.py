"""The hooks of pre-commit run tools that are there, on pages that are there."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
HTTP, GUARANTEES, CHANGELOG = "docs/use/http.md", "docs/understand/guarantees.md", "CHANGELOG.md"


def hooks() -> dict[str, dict[str, str]]:
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    return {hook["id"]: hook for hook in local["hooks"]}


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ([HTTP], 1),
        ([GUARANTEES, HTTP], 1),
        ([HTTP, CHANGELOG], 0),
        ([CHANGELOG, GUARANTEES], 0),
        ([CHANGELOG], 0),
    ],
)
@pytest.mark.usefixtures("processes")
def test_changelog_hook_fails_only_without_the_changelog(changed: list[str], status: int) -> None:
    done = subprocess.run(
        [ROOT / hooks()["changelog"]["entry"], *changed],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == status
    assert ("SKIP=changelog" in done.stderr) == bool(status)


def test_changelog_hook_looks_at_pages_that_exist() -> None:
    pattern = hooks()["changelog"]["files"]
    assert all((ROOT / page).exists() for page in (HTTP, GUARANTEES, CHANGELOG))
    assert all(re.search(pattern, page) for page in (HTTP, GUARANTEES, CHANGELOG))
    assert not re.search(pattern, "docs/use/client.md")


def test_hooks_run_the_tools_of_the_development_environment() -> None:
    tools = {hook["entry"].split()[0] for hook in hooks().values()}
    environment = {"ruff", "lint-imports", "codespell"}
    assert tools == {f".venv-dev/bin/{tool}" for tool in environment} | {".ci/require-changelog"}
    assert {hook["language"] for hook in hooks().values()} == {"system"}
