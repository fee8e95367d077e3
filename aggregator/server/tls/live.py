"""The context in force, replaced by a new one when its files have changed.

A context is never changed once connections use it. `SSLContext.load_cert_chain` sets the
certificate first and the key behind it, so that a pair that does not fit leaves a context with the
new certificate and without a key, and `load_verify_locations` can add authorities but take none
away. So what the files hold is loaded into a context of its own, which new connections take once it
is whole. Their sessions are of that context too: none of an authority that was removed is resumed.
"""

import asyncio
import ssl

import structlog

from aggregator.server.tls.files import Contents, FilesChanging, TlsFault, TlsFiles

_TRIES = 3

_log = structlog.get_logger()


class LiveContext:
    """The context that new connections use; see `aggregator.server.reloads`.

    Args:
        files: that it is made of.

    Raises:
        TlsFault: they can't be used.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        # The contents, or why there are none, that were put in force or refused last.
        self._judged: Contents | str = ""
        self._seen: Contents | str = ""
        self._in_force = ""
        self.context: ssl.SSLContext = self._first()
        if (exposed := files.key_is_exposed()) is not None:
            _log.warning(
                "tls_key_exposed",
                file=str(exposed),
                reason="every user of this machine may read the key; see chmod 600",
            )

    def _first(self) -> ssl.SSLContext:
        for _ in range(_TRIES):
            contents = self._files.read()
            try:
                context = self._files.load(contents)
            except FilesChanging:
                continue
            self._take(contents)
            return context
        raise TlsFault(f"--tls-cert: '{self._files.cert}' or its key changes all the time")

    async def look(self, *, at_once: bool) -> None:
        """Put what the files hold in force if it is new and can be used.

        Args:
            at_once: somebody says that they are as they should be. Otherwise they are taken when
                they were the same at two looks, so that one half of a pair is not taken for all.
        """
        state = await asyncio.to_thread(self._read)
        settled, self._seen = at_once or state == self._seen, state
        if state == self._judged or not settled:
            return
        if isinstance(state, str):
            self._refuse(state, state)
            return
        try:
            self.context = await asyncio.to_thread(self._files.load, state)
        except FilesChanging:
            return
        except TlsFault as error:
            self._refuse(state, str(error))
            return
        self._take(state)

    def _read(self) -> Contents | str:
        try:
            return self._files.read()
        except TlsFault as error:
            return str(error)

    def _refuse(self, state: Contents | str, reason: str) -> None:
        self._judged = state
        _log.error("tls_refused", reason=reason, in_force=self._in_force)

    def _take(self, contents: Contents) -> None:
        self._judged = contents
        self._in_force = contents.fingerprint
        _log.info("tls_in_force", certificate_sha256=self._in_force)
