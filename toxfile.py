"""Which Python the environments `oldest…`, `lowest` and `newest` run on: looked for, not named.

tox loads this by itself. `-x testenv:newest.base_python=PATH` names another.
"""

import os
import re
import subprocess
from functools import cache
from pathlib import Path

from tox.config.loader.memory import MemoryLoader
from tox.config.sets import EnvConfigSet
from tox.plugin import impl

_OLDEST = (3, 11)
_NAME = re.compile(r"python3(\.[0-9]+)?")
_TELL = "import sys; print(*sys.version_info[:3], sys.version_info[3])"


@cache
def _found() -> dict[Path, tuple[int, ...]]:
    """Every released Python in PATH, and of pyenv, with its version."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    folders += sorted(pyenv.glob("versions/3.*/bin"))
    found = {}
    for folder in folders:
        # A shim is no Python: it starts one, or none.
        if folder == pyenv / "shims" or not folder.is_dir():
            continue
        for path in sorted(folder.iterdir()):
            # That of a virtual environment leads to the one it was made with.
            python = path.resolve()
            if _NAME.fullmatch(path.name) and python not in found:
                found[python] = _version(python)
    return {python: version for python, version in found.items() if version >= _OLDEST}


def _version(python: Path) -> tuple[int, ...]:
    """Major, minor, micro; nothing if it is no release, or none at all."""
    try:
        told = subprocess.run(  # noqa: S603
            [python, "-IS", "-c", _TELL], capture_output=True, text=True, check=True, timeout=10
        ).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(map(int, told[:3])) if told[3:] == ["final"] else ()


def _oldest() -> str:
    """The oldest Python of the oldest series supported."""
    pythons = {python: version for python, version in _found().items() if version[:2] == _OLDEST}
    # If there is none, its name: tox then says that it is missing.
    return str(min(pythons, key=pythons.__getitem__)) if pythons else "python3.11"


def _newest() -> str:
    return str(max(_found(), key=_found().__getitem__))


_CHOSEN = {"oldest": _oldest, "oldest-latest": _oldest, "lowest": _oldest, "newest": _newest}


@impl
def tox_add_env_config(env_conf: EnvConfigSet) -> None:
    """Give an environment its Python, behind whatever names another."""
    if choose := _CHOSEN.get(env_conf.name):
        env_conf.loaders.append(MemoryLoader(base_python=[choose()]))
