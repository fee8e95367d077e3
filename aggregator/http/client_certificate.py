"""The names of a client's certificate, which TLS has verified."""

import asyncio
import ssl
from typing import Any

_KINDS = ("DNS", "URI")


def certificate_names(transport: asyncio.BaseTransport) -> tuple[str, ...]:
    """Return the names of the client's certificate as rights name them; () if it sent none.

    Args:
        transport: of the connection.

    Returns:
        Each name with its kind: "DNS:shop.example", "URI:spiffe://example/shop", "CN:shop".
    """
    certificate = _certificate(transport)
    if certificate is None:
        return ()
    alternative = certificate.get("subjectAltName", ())
    names = [f"{kind}:{name}" for kind, name in alternative if kind in _KINDS]
    for part in certificate.get("subject", ()):
        names += [f"CN:{value}" for key, value in part if key == "commonName"]
    return tuple(names)


def not_after(transport: asyncio.BaseTransport) -> float | None:
    """Return when the client's certificate runs out, in seconds since 1970; None if it sent none.

    Args:
        transport: of the connection.
    """
    certificate = _certificate(transport)
    return None if certificate is None else float(ssl.cert_time_to_seconds(certificate["notAfter"]))


def _certificate(transport: asyncio.BaseTransport) -> dict[str, Any] | None:
    # Empty: sent, and not asked to be verified.
    return transport.get_extra_info("peercert") or None
