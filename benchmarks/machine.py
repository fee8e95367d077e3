"""The description of the machine."""

import os
import platform
import sqlite3
import tempfile
from pathlib import Path

import asyncpg
import psutil


async def machine(dsn: str) -> dict[str, str]:
    """Describe the processor, the system and the databases.

    Args:
        dsn: of the Postgres server that is measured with.
    """
    connection = await asyncpg.connect(dsn)
    try:
        postgres = await connection.fetchval("SHOW server_version")
    finally:
        await connection.close()
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "file system of temporary files": _file_system(Path(tempfile.gettempdir())),
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "Postgres": str(postgres),
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or "unknown"


def _file_system(path: Path) -> str:
    mounted = {Path(each.mountpoint): each.fstype for each in psutil.disk_partitions(all=True)}
    path = path.resolve()
    return next((mounted[each] for each in (path, *path.parents) if each in mounted), "unknown")
