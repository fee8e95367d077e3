"""What starting imports: nothing that it does not need, and aiohttp without its certificates."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def printed(script: str) -> list[str]:
    """What a Python of its own prints."""
    command = [sys.executable, "-c", script]
    return subprocess.check_output(command, cwd=ROOT, text=True).split()


@pytest.mark.parametrize("variable", [None, "/no/such/file"])
def test_aiohttp_reads_no_certificates_and_the_environment_stays(variable: str | None) -> None:
    given = "" if variable is None else f"os.environ['SSL_CERT_FILE'] = {variable!r}\n"
    script = f"""
import os, ssl
os.environ.pop("SSL_CERT_FILE", None)
{given}before = dict(os.environ)
from aggregator.__main__ import _import_aiohttp
_import_aiohttp()
assert dict(os.environ) == before
from aiohttp import connector
print(connector._SSL_CONTEXT_VERIFIED.cert_store_stats()["x509"])
"""
    assert printed(script) == ["0"]


def test_nothing_in_the_server_is_a_client_of_aiohttps() -> None:
    # Its certificates are not there: see `aggregator.__main__`.
    used = r"\b(?:ClientSession|TCPConnector|BaseConnector|aiohttp\.request|aiohttp\.client)\b"
    sources = sorted((ROOT / "aggregator").rglob("*.py"))
    assert [source for source in sources if re.search(used, source.read_text())] == []


def test_the_help_needs_no_server() -> None:
    script = """
import sys
from aggregator.__main__ import main
for arguments in ["--help"], ["verify", "--help"]:
    try:
        main(arguments)
    except SystemExit:
        pass
print("IMPORTED", *{"aiohttp", "structlog", "asyncpg", "aiosqlite", "duckdb"} & set(sys.modules))
"""
    assert printed(script)[-1] == "IMPORTED"


def test_a_client_imports_nothing_of_the_server() -> None:
    script = """
import sys
import publisher, subscriber
from publisher import Credentials
of_the_server = {"aggregator", "storage", "structlog", "asyncpg", "aiosqlite", "prometheus_client"}
print("IMPORTED", *of_the_server & set(sys.modules))
"""
    assert printed(script) == ["IMPORTED"]
