"""Origins and hosts, as browsers name them in `Origin` and `Host`."""

import re
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

_DEFAULT_PORTS = {"http": 80, "https": 443}
_MAX_PORT = 65_535

_HOST = r"(\[[0-9a-f:.]+\]|[a-z0-9_%.-]+)(?::([0-9]{1,5}))?"
_host = re.compile(_HOST, re.ASCII).fullmatch
_origin = re.compile(r"([a-z][a-z0-9+.-]*)://" + _HOST, re.ASCII).fullmatch


class Host(NamedTuple):
    """A host as `Host` names it: a name or an address without brackets; its port, if it has one."""

    name: str
    port: int | None


class Origin(NamedTuple):
    """The origin of a page; the port is that of the scheme where none is named."""

    scheme: str
    name: str
    port: int | None

    def __str__(self) -> str:
        """As a browser writes it."""
        name = f"[{self.name}]" if ":" in self.name else self.name
        is_default = self.port == _DEFAULT_PORTS.get(self.scheme)
        return f"{self.scheme}://{name}" + ("" if is_default else f":{self.port}")

    def is_at(self, host: Host, *, secure: bool) -> bool:
        """Return whether it is the origin of what is served there.

        Behind a proxy with TLS a page is of https, and what comes from the proxy is http.

        Args:
            host: what is served.
            secure: whether it speaks TLS itself.
        """
        if self.scheme not in _DEFAULT_PORTS or (secure and self.scheme != "https"):
            return False
        port = _DEFAULT_PORTS[self.scheme] if host.port is None else host.port
        return (self.name, self.port) == (host.name, port)


def parse_host(text: str) -> Host | None:
    """Parse the value of `Host`; None if it is no host."""
    found = _host(text.lower())
    return None if found is None else _parsed(found[1], found[2])


def parse_origin(text: str) -> Origin | None:
    """Parse the value of `Origin`; None if it is none, or `null`."""
    found = _origin(text.lower())
    host = None if found is None else _parsed(found[2], found[3])
    if found is None or host is None:
        return None
    port = _DEFAULT_PORTS.get(found[1]) if host.port is None else host.port
    return Origin(found[1], host.name, port)


def names_loopback(name: str) -> bool:
    """Return whether a browser takes a host for this machine, whatever its resolver says.

    Args:
        name: a name in small letters, or an address.
    """
    name = name.removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def checked_origin(text: str) -> str:
    """Return an origin that is to be let in, as a browser writes it.

    Raises:
        ValueError: it is none; see `Option.convert`.
    """
    origin = parse_origin(text)
    if origin is None:
        raise ValueError(
            "must be origins, as https://app.example or http://localhost:3000, without a path, and "
            "neither * nor null"
        )
    return str(origin)


def checked_host(text: str) -> str:
    """Return a host name that is to be known, as `parse_host` has it.

    Raises:
        ValueError: it is none; see `Option.convert`.
    """
    host = parse_host(f"[{text}]" if text.count(":") > 1 and text[:1] != "[" else text)
    if host is None or host.port is not None:
        raise ValueError("must be names of hosts, as log.example, without a port, and not *")
    return host.name.removesuffix(".")


def _parsed(name: str, port: str | None) -> Host | None:
    number = None if port is None else int(port)
    if number is not None and number > _MAX_PORT:
        return None
    if name.startswith("["):
        try:
            name = str(IPv6Address(name[1:-1]))
        except ValueError:
            return None
    return Host(name, number)
