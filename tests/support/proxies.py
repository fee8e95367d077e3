"""Proxies as docs/operate/proxies.md has them, in front of an aggregator."""

import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp.test_utils import unused_port

from support.processes import wait_for
from support.programs import program

_DOCUMENT = Path(__file__).parents[2] / "docs" / "operate" / "proxies.md"
_NGINX = """
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
{server}
}}
"""
_PLAIN = """
server {
    listen 127.0.0.1:8081;
    location /log/ { proxy_pass http://127.0.0.1:8080/; }
}
"""


def documented(language: str) -> str:
    """The configuration that the page shows."""
    (block,) = re.findall(rf"```{language}\n(.*?)```", _DOCUMENT.read_text(), re.DOTALL)
    assert isinstance(block, str)
    return block


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


@contextmanager
def proxied(kind: str, url: str, directory: Path) -> Iterator[str]:
    """The URL of an aggregator behind the path /log of a proxy.

    Args:
        kind: `nginx` or `haproxy` as documented, or `nginx, plain`, which decodes paths.
        url: the aggregator's own.
        directory: for the proxy's configuration and its logs.
    """
    port = unused_port()
    file = directory / "proxy.conf"
    command: list[str | Path]
    if kind == "haproxy":
        text = documented("haproxy")
        command = [program("haproxy"), "-db", "-f", file]
    else:
        server = documented("nginx") if kind == "nginx" else _PLAIN
        text = _NGINX.format(directory=directory, server=server)
        command = [program("nginx"), "-p", directory, "-c", file, "-e", "stderr"]
    text = text.replace("127.0.0.1:8080", f"127.0.0.1:{urlsplit(url).port}")
    file.write_text(text.replace("127.0.0.1:8081", f"127.0.0.1:{port}"))
    with (directory / "proxy.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: process.poll() is not None or _accepts(port), kind)
        assert process.poll() is None, (directory / "proxy.log").read_text()
        yield f"http://127.0.0.1:{port}/log"
    finally:
        process.kill()
        process.wait()
