"""Connections that TLS fails on, as short log lines at a bounded rate.

They are no faults of this process, and a client that has one has many.
"""

import ssl

import structlog

from aggregator.logging.rate_limit import LogRateLimit

MAX_LINES_PER_SECOND = 10

_REASONS = {
    "CERTIFICATE_EXPIRED": "the client refuses this server's certificate: it has run out",
    "HTTP_REQUEST": "plain HTTP was sent; the URL must begin with https:",
    "NO_SHARED_CIPHER": "client and server have no cipher in common",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the client sent no certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the client refuses this server's certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the client refuses this server's certificate: it has run "
    "out",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the client refuses this server's certificate",
    "TLSV1_ALERT_UNKNOWN_CA": "the client does not trust who issued this server's certificate",
    "UNSUPPORTED_PROTOCOL": "client and server have no version of TLS in common",
    "WRONG_VERSION_NUMBER": "what was sent is no TLS",
}

_log = structlog.get_logger()


class TlsFailures:
    """Logs connections that failed as `tls_failed`."""

    def __init__(self) -> None:
        self._rate_limit = LogRateLimit("tls_failed", MAX_LINES_PER_SECOND)

    def log(self, reason: str, client: str) -> None:
        """Log one, unless there were too many in this second.

        Args:
            reason: the end of a sentence, without a byte of what was sent.
            client: the address at the other end.
        """
        more = self._rate_limit.fields()
        if more is not None:
            _log.info("tls_failed", reason=reason, client=client, **more)


def reason_of(error: ssl.SSLError) -> str:
    """Return in words why TLS failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the client's certificate does not verify: {error.verify_message}"
    reason = error.reason or "unknown"
    return _REASONS.get(reason) or reason.replace("_", " ").lower()
