"""What is wrong with a Postgres connection URI, without a word of the password in it.

What the driver makes of one is another question; but most that goes wrong is a character of a
password that means something else in a URI, and of that the driver sees only the consequences.
"""

import os
import re
from urllib.parse import parse_qs, unquote

_SCHEMES = ("postgres", "postgresql")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_ADDRESS = re.compile(r"\[[^\[\]]+\](?::(?P<port>.*))?")
_LARGEST_PORT = 65_535

_ENCODE = (
    "a user, a password and a database's name must not hold @ : / ? # [ ] % as they are, but as "
    "%40 %3A %2F %3F %23 %5B %5D %25; to encode one: "
    "python3 -c \"import getpass, urllib.parse as u; print(u.quote(getpass.getpass(), safe=''))\""
)

_CHOICES = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "target_session_attrs": (
        "any", "primary", "standby", "prefer-standby", "read-write", "read-only",
    ),
}  # fmt: skip
_FILES = ("sslcert", "sslkey", "sslrootcert", "sslcrl")


def fault_of(dsn: str) -> str | None:
    """What is wrong with a DSN, as the end of a sentence that names it; None if nothing is seen.

    Args:
        dsn: postgresql://user:password@host:port/database?name=value, most of it optional.
    """
    dsn = dsn.strip()
    named = _SCHEME.match(dsn)
    scheme = named[1].lower() if named else ""
    if scheme not in _SCHEMES:
        return f"has the scheme {scheme!r}; it must begin with postgresql://"
    if not dsn.startswith("//", len(scheme) + 1):
        return "must begin with postgresql://"
    rest = dsn[len(scheme) + 3 :]
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    path, _, query = rest[len(authority) :].partition("?")
    user, at, hosts = authority.rpartition("@")
    if (
        re.search(r"[#\t\r\n]", rest)
        or re.search(r"[@\[\]]", user)
        or "@" in path
        or (not at and not path and "@" in query)
    ):
        return f"can't be taken apart: {_ENCODE}"
    if "%00" in rest:
        return "has a %00, which nothing in Postgres can hold"
    return _fault_of_hosts(hosts, is_sure=bool(at)) or _fault_of_query(query)


def _fault_of_hosts(hosts: str, *, is_sure: bool) -> str | None:
    # Where no user is, what looks like a port may be the beginning of a password.
    hint = "" if is_sure else f"; or {_ENCODE}"
    for host in hosts.split(",") if hosts else ():
        if not host:
            return f"has an empty name in its list of hosts{hint}"
        if host.startswith("["):
            address = _ADDRESS.fullmatch(host)
            if address is None:
                return f"has a host with a bracket that is not closed, as in [::1]:5432{hint}"
            port = address["port"]
        elif "[" in host or "]" in host:
            return f"has a bracket in the name of its host, which only an address has{hint}"
        elif host.count(":") > 1:
            return f"has a host with more than one colon; an IPv6 address is written [::1]{hint}"
        else:
            _, _, port = host.partition(":")
        if port and not _is_port(unquote(port)):
            return f"has a port that is not a number from 1 to {_LARGEST_PORT}{hint}"
    return None


def _fault_of_query(query: str) -> str | None:
    if not query:
        return None
    try:
        given = {name: values[-1] for name, values in parse_qs(query, strict_parsing=True).items()}
    except ValueError:
        return f"has something behind its ? that is not name=value&name=value; {_ENCODE}"
    for name, choices in _CHOICES.items():
        if name in given and given[name].replace("_", "-") not in choices:
            return f"has {name}={given[name]}; it must be one of {', '.join(choices)}"
    for name in _FILES:
        if name in given and not os.access(given[name], os.R_OK):
            return f"has {name}={given[name]}, a file that is not there or can't be read"
    for host in given.get("host", "").split(",") if given.get("host") else ():
        if not host:
            return "has an empty name in its list of hosts"
    if not all(_is_port(port) for port in given.get("port", "1").split(",")):
        return f"has a port that is not a number from 1 to {_LARGEST_PORT}"
    return None


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 1 <= int(text) <= _LARGEST_PORT
