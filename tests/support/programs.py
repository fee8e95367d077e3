"""Programs beyond Python that tests run for real: where they are, and what brings them."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

_PACKAGES = {
    "curl": "curl",
    "haproxy": "haproxy",
    "jq": "jq",
    "nginx": "nginx-light",
    "pgbouncer": "pgbouncer",
    "promtool": "prometheus",
}
"""Each program, and the Debian package that has it."""

_SYSTEM_PATH = "/usr/sbin:/sbin"
"""Where a distribution puts servers; not every user's PATH has it."""


def program(name: str) -> Path:
    """The path of an installed program; without it the test fails, naming what to install."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), _SYSTEM_PATH])
    found = shutil.which(name, path=path)
    if found is None:
        _missing(name)
    return Path(found)


def _missing(name: str) -> NoReturn:
    pytest.fail(
        f"there is no {name}: apt-get install {_PACKAGES[name]} (see CONTRIBUTING.md)",
        pytrace=False,
    )
