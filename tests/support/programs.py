"""Programs beyond Python that tests run for real: where they are, and what brings them."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

_PACKAGES = {
    "chromium": "chromium",
    "curl": "curl",
    "haproxy": "haproxy",
    "jq": "jq",
    "logrotate": "logrotate",
    "nginx": "nginx-light",
    "pgbouncer": "pgbouncer",
    "promtool": "prometheus",
}
"""Each program, and the Debian package that has it."""

_SYSTEM_PATH = "/usr/sbin:/sbin"
"""Where a distribution puts servers; not every user's PATH has it."""


def program(name: str) -> Path:
    """The path of an installed program; without it the test fails, naming what to install."""
    return installed(name) or _missing(name)


def browser(own: str) -> Path:
    """The path of a Chromium: the one that CHROMIUM names, an installed one, or `own`.

    Args:
        own: where the tool that drives it keeps one that it has downloaded.
    """
    if named := os.environ.get("CHROMIUM"):
        if not os.access(named, os.X_OK):
            pytest.fail(f"CHROMIUM names {named}, which can't be run", pytrace=False)
        return Path(named)
    downloaded = Path(own) if os.access(own, os.X_OK) else None
    return installed("chromium") or downloaded or _missing("chromium")


def installed(name: str) -> Path | None:
    """The path of a program, if it is installed."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), _SYSTEM_PATH])
    found = shutil.which(name, path=path)
    return None if found is None else Path(found)


def _missing(name: str) -> NoReturn:
    pytest.fail(
        f"there is no {name}: apt-get install {_PACKAGES[name]} (see CONTRIBUTING.md)",
        pytrace=False,
    )
