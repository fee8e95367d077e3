"""The transport of a connection with TLS, which holds nothing that its socket's transport does not.

What the server promises to bound rests on its transports: that what is written goes to the kernel
at once, that what is left is known and is told of, and that a client may end its side alone. The
transports of asyncio and uvloop for TLS do none of that: behind theirs is another transport, whose
buffer they do not count; with a limit of 0 they pause a writer whose buffer is empty; and they
close a connection whose other side has ended. This one encrypts, hands on, and asks the transport
of the socket for everything else.
"""

import asyncio
import ssl
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

Data = bytes | bytearray | memoryview


class TlsTransport(asyncio.Transport):
    """Encrypts what it is given, and hands it to the transport of the socket.

    Args:
        under: the transport of the socket.
        tls: the session, whose handshake is done.
        outgoing: where the session puts what is to be sent.
    """

    def __init__(
        self, under: asyncio.Transport, tls: ssl.SSLObject, outgoing: ssl.MemoryBIO
    ) -> None:
        super().__init__()
        self._under = under
        self._tls = tls
        self._outgoing = outgoing
        self._facts = {
            "cipher": tls.cipher(),
            "peercert": tls.getpeercert(),
            "ssl_object": tls,
            "sslcontext": tls.context,
        }

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See `asyncio.BaseTransport`."""
        if name in self._facts:
            return self._facts[name]
        return self._under.get_extra_info(name, default)

    def write(self, data: Data) -> None:
        """See `asyncio.WriteTransport`."""
        if self._under.is_closing():
            return
        rest = memoryview(data)
        try:
            while rest:
                # It takes one record at a time.
                rest = rest[self._tls.write(rest) :]
        except ssl.SSLError:
            # The session has failed, and the reader of the connection tells why.
            self.abort()
            return
        self.flush()

    def writelines(self, list_of_data: Iterable[Data]) -> None:
        """See `asyncio.WriteTransport`."""
        self.write(b"".join(list_of_data))

    def flush(self) -> int:
        """Hand on what the session has to send; returns its size in bytes."""
        data = self._outgoing.read()
        if data and not self._under.is_closing():
            self._under.write(data)
        return len(data)

    def close(self) -> None:
        """See `asyncio.BaseTransport`; the client is told that this is the end, and is not asked.

        To wait for its answer would keep the connection of a client that gives none.
        """
        if self._under.is_closing():
            return
        # It wants that answer, or the session has failed: what there is to say is said.
        with suppress(ssl.SSLError):
            self._tls.unwrap()
        self.flush()
        self._under.close()

    def abort(self) -> None:
        """See `asyncio.WriteTransport`."""
        self._under.abort()

    def is_closing(self) -> bool:
        """See `asyncio.BaseTransport`."""
        return self._under.is_closing()

    def get_write_buffer_size(self) -> int:
        """See `asyncio.WriteTransport`; as it is sent, encrypted."""
        return self._under.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """See `asyncio.WriteTransport`."""
        return self._under.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See `asyncio.WriteTransport`."""
        self._under.set_write_buffer_limits(high, low)

    def can_write_eof(self) -> bool:
        """See `asyncio.WriteTransport`."""
        return False

    def is_reading(self) -> bool:
        """See `asyncio.ReadTransport`."""
        return self._under.is_reading()

    def pause_reading(self) -> None:
        """See `asyncio.ReadTransport`."""
        self._under.pause_reading()

    def resume_reading(self) -> None:
        """See `asyncio.ReadTransport`."""
        self._under.resume_reading()
