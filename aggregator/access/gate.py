"""The gate: each request is let in with what its sender may do, or refused by its head alone."""

import time
from collections.abc import Callable, Sequence

from aggregator.access.authority import Access, Identity, Unauthorized
from aggregator.access.entries import Entry
from aggregator.access.errors import Forbidden
from aggregator.access.needs import Need

EVERYBODY = Identity(entry=Entry(name="", admin=True), name="", generation=0)
"""Who a request comes from where there is no access control: everybody may do everything."""


def _now_us() -> int:
    return time.time_ns() // 1000


class Gate:
    """Lets requests in.

    Args:
        access: the entries in force; None: there is no access control.
        now_us: the time in microseconds since the epoch.
    """

    def __init__(self, access: Access | None, now_us: Callable[[], int] = _now_us) -> None:
        self.access = access
        self._now_us = now_us

    def let_in(
        self, need: Need | None, authorization: Sequence[str], certificate_names: Sequence[str]
    ) -> Identity:
        """Return who a request comes from, who may do what it asks for; see the two steps below."""
        identity = self.identify(need, authorization, certificate_names)
        self.check(need, identity)
        return identity

    def identify(
        self, need: Need | None, authorization: Sequence[str], certificate_names: Sequence[str]
    ) -> Identity:
        """Return who a request comes from.

        Args:
            need: of its route; None: it leads nowhere, which is told to those who are known.
            authorization: the values of all its `Authorization` headers.
            certificate_names: names in its client's certificate, verified.

        Raises:
            Unauthorized: its credential is none that is in force, or there must be one.
        """
        if self.access is None or need is Need.NOTHING:
            return EVERYBODY
        return self.access.identify(authorization, certificate_names, self._now_us())

    def check(self, need: Need | None, identity: Identity) -> None:
        """Return if the sender of a request may do anything of the kind that it asks for.

        Raises:
            Forbidden: it may not.
        """
        if need is not None and not need.is_met(identity.entry):
            raise Forbidden(f"{identity.name!r} may not {need.in_words}")

    def shows_token(self, authorization: Sequence[str]) -> bool:
        """Return whether a request has a bearer token that is in force.

        Args:
            authorization: the values of all its `Authorization` headers.
        """
        if self.access is None or not authorization:
            return False
        try:
            self.access.identify(authorization, (), self._now_us())
        except Unauthorized:
            return False
        return True

    def rights_now(self, identity: Identity) -> Entry | None:
        """Return what the sender of an earlier request may do by now; None: nothing any more."""
        if self.access is None or identity is EVERYBODY:
            return identity.entry
        return self.access.still_holds(identity, self._now_us())
