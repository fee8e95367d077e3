"""Addresses that only this machine reaches."""

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Return whether an address to listen on is one that only this machine reaches.

    Args:
        host: an address or a name; of names, `localhost` alone is known to be one.
    """
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
