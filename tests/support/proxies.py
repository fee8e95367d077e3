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

_PAGES = Path(__file__).parents[2] / "docs" / "operate"
_DOCUMENT = _PAGES / "proxies.md"
_PATIENCE = " 90s"
_NGINX = """
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{}}
http {{
    access_log off;
    gzip on;
    gzip_types text/event-stream application/x-ndjson application/json;
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


def _several() -> str:
    """The configuration for several aggregators, with one at an address in place of names."""
    text = (_PAGES / "haproxy.cfg").read_text()
    text = text.replace("bind :8080", "bind 127.0.0.1:8081")
    names = r"server-template aggregator 10 aggregator:8080 (.*) resolvers docker init-addr none"
    found, count = re.subn(names, r"server aggregator 127.0.0.1:8080 \1", text)
    assert count == text.count("server-template")
    return found


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


@contextmanager
def proxied(kind: str, url: str, directory: Path, *, patience: str | None = None) -> Iterator[str]:
    """The URL of an aggregator behind a proxy, most of which have it at the path /log.

    Args:
        kind: `nginx` or `haproxy` as documented; `nginx, plain`, which decodes paths; or
            `haproxy, several`, which strips none.
        url: the aggregator's own.
        directory: for the proxy's configuration and its logs.
        patience: how long it bears silence, in place of the documented time.
    """
    port = unused_port()
    file = directory / "proxy.conf"
    command: list[str | Path]
    if kind.startswith("haproxy"):
        text = documented("haproxy") if kind == "haproxy" else _several()
        command = [program("haproxy"), "-db", "-f", file]
    else:
        server = documented("nginx") if kind == "nginx" else _PLAIN
        text = _NGINX.format(directory=directory, server=server)
        command = [program("nginx"), "-p", directory, "-c", file, "-e", "stderr"]
    if patience is not None:
        assert _PATIENCE in text
        text = text.replace(_PATIENCE, f" {patience}")
    text = text.replace("127.0.0.1:8080", f"127.0.0.1:{urlsplit(url).port}")
    file.write_text(text.replace("127.0.0.1:8081", f"127.0.0.1:{port}"))
    with (directory / "proxy.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: process.poll() is not None or _accepts(port), kind)
        assert process.poll() is None, (directory / "proxy.log").read_text()
        yield f"http://127.0.0.1:{port}" + ("" if kind == "haproxy, several" else "/log")
    finally:
        process.kill()
        process.wait()
