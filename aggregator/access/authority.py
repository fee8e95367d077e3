"""Access control: who a request comes from, by the entries that are in force."""

import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from aggregator.access.entries import ANONYMOUS, Digest, Entry
from aggregator.access.tokens import PREFIX, digest_of, is_well_formed
from aggregator.wire.timestamps import render_timestamp

MAX_CACHED = 4096
"""Greatest number of `Authorization` headers whose outcome is remembered."""

_MAX_HEADER = 256
"""Characters of a header that is remembered; that of a token has 60, and spaces cost memory."""

_bearer = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*) *", re.ASCII | re.IGNORECASE).fullmatch


class Reason(StrEnum):
    """Why nobody is identified."""

    MISSING = "missing"
    MALFORMED = "malformed"
    MISTYPED = "mistyped"
    UNKNOWN = "unknown"
    EXPIRED = "expired"


class Unauthorized(Exception):
    """A request comes from nobody who is known; the message is one sentence without a token.

    Args:
        reason: why.
        sentence: the same for people.
    """

    def __init__(self, reason: Reason, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """An identity says who a request comes from, and by which credential.

    Args:
        entry: the entry as it was then.
        name: for the log and for limits.
        generation: that of the entries it was found in.
        expires_us: the time from which it counts no more, in microseconds since the epoch, or None.
        digest: the token's, if it came with one.
        certificate: the name in the certificate, if it came with one.
    """

    entry: Entry
    name: str
    generation: int
    expires_us: int | None = None
    digest: bytes | None = field(default=None, repr=False)
    certificate: str | None = None


class Access:
    """Access identifies requests by the entries in force, which may be replaced at any time.

    A token is looked up by its SHA-256 in a dict. How long that takes says nothing about the tokens
    that are there: who guesses can't choose the digest of a guess, so that a digest which agrees
    with another one in its first bytes says nothing about the 256 random bits behind it. Found or
    not, one comparison in constant time follows. The cache is looked up by the header itself.
    Python compares the texts of a dict only if all 64 bits of their hashes agree, and these depend
    on a key that each process draws.

    Args:
        entries: those in force at first; no name, digest or certificate is there twice.
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.generation = 0
        """The number of times that the entries were replaced."""
        self._cache: dict[str, Identity] = {}
        self._take(entries)

    def replace(self, entries: Iterable[Entry]) -> None:
        """Put other entries in force."""
        self._take(entries)
        self.generation += 1
        self._cache.clear()

    def named(self, name: str) -> Entry | None:
        """Return the entry of a name; None if there is none."""
        return self._by_name.get(name)

    def identify(
        self, authorization: Sequence[str], certificate_names: Sequence[str], now_us: int
    ) -> Identity:
        """Find out who a request comes from.

        A token wins over a certificate. Of several names of a certificate, the first that an entry
        has counts. Without either, it is the entry `anonymous`, if there is one.

        Args:
            authorization: the values of all its `Authorization` headers.
            certificate_names: names in its client's certificate, which was verified: "DNS:…",
                "URI:…", "CN:…".
            now_us: the time in microseconds since the epoch.

        Raises:
            Unauthorized: the credential is none that is in force, or there must be one.
        """
        if len(authorization) == 1:
            header = authorization[0]
            cached = self._cache.get(header)
            if cached is not None and (cached.expires_us is None or now_us < cached.expires_us):
                return cached
            identity = self._by_token(bearer_token(authorization), now_us)
            if len(header) <= _MAX_HEADER:
                self._remember(header, identity)
            return identity
        if authorization:
            bearer_token(authorization)
        for name in certificate_names:
            if (entry := self._by_certificate.get(name)) is not None:
                return self._identity(entry, now_us, "certificate", certificate=name)
        return self._anonymous(now_us)

    def still_holds(self, identity: Identity, now_us: int) -> Entry | None:
        """Return the entry whose rights an identity has now; None if it counts no more.

        Args:
            identity: one that was found earlier.
            now_us: the time in microseconds since the epoch.
        """
        if identity.generation == self.generation:
            expired = identity.expires_us is not None and now_us >= identity.expires_us
            return None if expired else identity.entry
        found: Entry | None
        digest: Digest | None = None
        if identity.digest is not None:
            found, digest = self._by_digest.get(identity.digest, (None, None))
        elif identity.certificate is not None:
            found = self._by_certificate.get(identity.certificate)
        else:
            found = self._by_name.get(ANONYMOUS)
        if found is None:
            return None
        expires_us = found.expires_with(digest)
        return found if expires_us is None or now_us < expires_us else None

    def _take(self, entries: Iterable[Entry]) -> None:
        self._by_name = {each.name: each for each in entries}
        every = self._by_name.values()
        self._by_digest = {
            digest.sha256: (each, digest) for each in every for digest in each.digests
        }
        self._by_certificate = {
            each.certificate: each for each in every if each.certificate is not None
        }

    def _by_token(self, token: str, now_us: int) -> Identity:
        if not is_well_formed(token):
            if token.startswith(PREFIX):
                raise Unauthorized(
                    Reason.MISTYPED,
                    "the token's checksum is not that of its characters: it was cut off or "
                    "mistyped",
                )
            raise Unauthorized(
                Reason.UNKNOWN, f"the bearer token is of no entry: these begin with {PREFIX}"
            )
        shown = digest_of(token)
        entry, digest = self._by_digest.get(shown, (None, None))
        kept = bytes(len(shown)) if digest is None else digest.sha256
        if not hmac.compare_digest(shown, kept) or entry is None:
            raise Unauthorized(Reason.UNKNOWN, "no entry has this token; it may have been revoked")
        return self._identity(entry, now_us, "token", digest=digest)

    def _anonymous(self, now_us: int) -> Identity:
        entry = self._by_name.get(ANONYMOUS)
        if entry is None:
            raise Unauthorized(
                Reason.MISSING, "a token must be shown: Authorization: Bearer and the token"
            )
        return self._identity(entry, now_us, "access without a credential")

    def _identity(
        self,
        entry: Entry,
        now_us: int,
        what: str,
        *,
        digest: Digest | None = None,
        certificate: str | None = None,
    ) -> Identity:
        expires_us = entry.expires_with(digest)
        if expires_us is not None and now_us >= expires_us:
            raise Unauthorized(
                Reason.EXPIRED,
                f"the {what} of {entry.name!r} expired at {render_timestamp(expires_us)}",
            )
        return Identity(
            entry=entry,
            name=entry.name,
            generation=self.generation,
            expires_us=expires_us,
            digest=None if digest is None else digest.sha256,
            certificate=certificate,
        )

    def _remember(self, header: str, identity: Identity) -> None:
        if len(self._cache) >= MAX_CACHED:
            # The oldest; who is still there comes back at the cost of one SHA-256.
            del self._cache[next(iter(self._cache))]
        self._cache[header] = identity


def bearer_token(authorization: Sequence[str]) -> str:
    """Return the bearer token of the `Authorization` headers of a request.

    Args:
        authorization: the values of all of them.

    Raises:
        Unauthorized: there is none, there are several, or it is no bearer token.
    """
    if not authorization:
        raise Unauthorized(Reason.MISSING, "there is no Authorization header")
    if len(authorization) > 1:
        raise Unauthorized(Reason.MALFORMED, "there is more than one Authorization header")
    found = _bearer(authorization[0])
    if found is None:
        raise Unauthorized(
            Reason.MALFORMED, "the Authorization header is not Bearer, a space, and a token"
        )
    return found[1]
