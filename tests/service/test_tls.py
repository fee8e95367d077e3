"""The publisher's commands against servers with TLS, whose certificates verify or do not."""

import asyncio
import os
import re
import sys
from pathlib import Path

from support.tls import Authority, serving_tls

ROOT = Path(__file__).parents[2]


async def run(*arguments: str | Path, state: Path, authorities: Path | None) -> tuple[int, str]:
    """Run a command of the publisher; gives its exit status and its last line on stderr."""
    env = os.environ | {"XDG_STATE_HOME": str(state)}
    env.pop("SSL_CERT_FILE", None)
    if authorities:
        env["SSL_CERT_FILE"] = str(authorities)
    command = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "publisher", *arguments),
        cwd=ROOT,
        env=env,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await command.communicate()
    assert command.returncode is not None
    return command.returncode, err.decode().rpartition("python -m publisher ")[2]


async def test_each_command_names_the_fault_of_a_certificate_at_once(tmp_path: Path) -> None:
    authority = Authority()
    authorities = authority.write(tmp_path / "authorities.pem")
    log = tmp_path / "one.log"
    log.write_text("one\n")
    async with serving_tls(authority.serving("127.0.0.1")) as server:
        ship = ("ship", log, "--topic", "orders", "--url", server.url)
        trusted, *others = await asyncio.gather(
            run(*ship, state=tmp_path, authorities=authorities),
            # Each with all the time in the world.
            run(*ship, "--deadline", "1e9", state=tmp_path, authorities=None),
            run(*ship, "--follow", state=tmp_path, authorities=None),
            run("load", "--events", "9", "--url", server.url, state=tmp_path, authorities=None),
        )
    assert trusted[0] == 0
    assert len(server.bodies) == 1
    fault = (
        rf"the certificate of {re.escape(server.url)} does not verify: unable to get local issuer "
        "certificate; name a file with the certificates to trust: --ca, ca_file of Credentials, "
        "or the environment variable SSL_CERT_FILE"
    )
    (_, shipped), (_, followed), (_, loaded) = others
    assert [status for status, _ in others] == [1, 1, 2]
    for told in (shipped, followed):
        assert re.match(
            f"ship: '.*one.log' from byte 0 on was not sent: {fault}; running the", told
        )
    assert re.fullmatch(f"load: {fault}\n", loaded)
