"""The files of TLS: read, checked, and made into a context that nobody uses yet."""

import hashlib
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn

from aggregator.settings.model import Settings

_CERT, _KEY, _CLIENT_CA = "--tls-cert", "--tls-key", "--tls-client-ca"

_CERTIFICATE_BEGINS = b"-----BEGIN CERTIFICATE-----"
_CERTIFICATE_ENDS = b"-----END CERTIFICATE-----"
_KEY_BEGINS = b"PRIVATE KEY-----"
_ENCRYPTED = (b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED")
"""How an encrypted key begins, in the form of PKCS #8 and in the older one."""

_PROTOCOL = "http/1.1"


class TlsFault(Exception):
    """The files can't be used; the message is one sentence that names the file."""


class FilesChanging(Exception):
    """The files changed while they were loaded, and are to be looked at again."""


class Contents(NamedTuple):
    """The bytes of the files at one look."""

    cert: bytes
    key: bytes | None
    client_ca: bytes | None

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the server's own certificate, by which the log names it."""
        end = self.cert.index(_CERTIFICATE_ENDS) + len(_CERTIFICATE_ENDS)
        pem = self.cert[self.cert.index(_CERTIFICATE_BEGINS) : end]
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.decode("ascii"))).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class TlsFiles:
    """The files that the settings name, and what is asked of clients."""

    cert: Path
    key: Path | None
    """None: the key is in the file of the certificate."""
    client_ca: Path | None
    client_required: bool

    def read(self) -> Contents:
        """Return the bytes of the files.

        Raises:
            TlsFault: one can't be read.
        """
        return Contents(
            _read(_CERT, self.cert),
            None if self.key is None else _read(_KEY, self.key),
            None if self.client_ca is None else _read(_CLIENT_CA, self.client_ca),
        )

    def load(self, contents: Contents) -> ssl.SSLContext:
        """Return a new context with these contents.

        Args:
            contents: of the files, as they were read a moment ago.

        Raises:
            TlsFault: they can't be used.
            FilesChanging: by now the files have other contents.
        """
        context = _bare_context()
        _check_certificates(_CERT, self.cert, contents.cert)
        key_option, key_file, key = self._key_of(contents)
        _check_key(key_option, key_file, key)
        try:
            context.load_cert_chain(self.cert, key_file, _refuse_to_ask)
        except (OSError, ValueError) as error:
            if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
                raise TlsFault(
                    f"{key_option}: the key in '{key_file}' is not that of the certificate in "
                    f"'{self.cert}'"
                ) from error
            if getattr(error, "reason", None) in _TOO_WEAK:
                raise TlsFault(
                    f"{_CERT}: the certificate in '{self.cert}' is too weak{_words(error)}"
                ) from error
            raise TlsFault(
                f"{key_option}: the key in '{key_file}' is broken or cut short{_words(error)}"
            ) from error
        if self.client_ca is not None and contents.client_ca is not None:
            _check_certificates(_CLIENT_CA, self.client_ca, contents.client_ca)
            _ask_for_certificates(context, self.client_ca, required=self.client_required)
        # OpenSSL reads the files itself: what it has read is what was judged only if they are
        # still the same.
        if self.read() != contents:
            raise FilesChanging
        return context

    def key_is_exposed(self) -> Path | None:
        """Return the file of the key if every user of the machine may read it, else None."""
        file = self.key or self.cert
        return file if file.stat().st_mode & stat.S_IROTH else None

    def _key_of(self, contents: Contents) -> tuple[str, Path, bytes]:
        if self.key is None or contents.key is None:
            return _CERT, self.cert, contents.cert
        return _KEY, self.key, contents.key


_TOO_WEAK = ("EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK")


def tls_files(settings: Settings) -> TlsFiles | None:
    """Return the files that the settings name; None if there is to be no TLS."""
    if settings.tls_cert is None:
        return None
    return TlsFiles(
        cert=settings.tls_cert,
        key=settings.tls_key,
        client_ca=settings.tls_client_ca,
        client_required=settings.tls_client_required == "on",
    )


def _bare_context() -> ssl.SSLContext:
    # Python's own choice of ciphers and options, which its releases keep up to date.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols([_PROTOCOL])
    return context


def _ask_for_certificates(context: ssl.SSLContext, file: Path, *, required: bool) -> None:
    context.load_verify_locations(file)
    context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    # A session that is resumed is not verified again.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0


def _read(option: str, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise TlsFault(f"{option}: can't read '{file}': {error.strerror or error}") from error


def _check_certificates(option: str, file: Path, content: bytes) -> None:
    if _CERTIFICATE_BEGINS not in content:
        raise TlsFault(f"{option}: there is no certificate in PEM form in '{file}'")
    try:
        # In a context of its own, so that the fault is that of this file.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(file)
        for each in content.split(_CERTIFICATE_BEGINS)[1:]:
            pem = _CERTIFICATE_BEGINS + each.partition(_CERTIFICATE_ENDS)[0] + _CERTIFICATE_ENDS
            ssl.PEM_cert_to_DER_cert(pem.decode("ascii"))
    except (OSError, ValueError) as error:
        raise TlsFault(
            f"{option}: a certificate in '{file}' is broken or cut short{_words(error)}"
        ) from error


def _check_key(option: str, file: Path, content: bytes) -> None:
    if _KEY_BEGINS not in content:
        hint = "; name its file with --tls-key" if option == _CERT else ""
        raise TlsFault(f"{option}: there is no private key in PEM form in '{file}'{hint}")
    if any(each in content for each in _ENCRYPTED):
        raise TlsFault(f"{option}: the key in '{file}' is encrypted; give one without a passphrase")


def _refuse_to_ask() -> NoReturn:
    """Stand in for OpenSSL's question for a passphrase, which would wait for a terminal."""
    raise ValueError("it is encrypted")


def _words(error: OSError | ValueError) -> str:
    """Return OpenSSL's reason in brackets; it has none for most of what is broken."""
    reason = getattr(error, "reason", None)
    return f" ({reason.replace('_', ' ').lower()})" if isinstance(reason, str) else ""
