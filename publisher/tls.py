"""TLS failures that another attempt would not change, each as a sentence with its remedy."""

import os
import ssl

import aiohttp

from publisher.refusals import one_line

_WRONG_NAME = frozenset({62, 64})  # X509_V_ERR_HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH
_WRONG_TIME = frozenset({9, 10})  # X509_V_ERR_CERT_NOT_YET_VALID, _CERT_HAS_EXPIRED
# The peer does not send TLS; which of these is raised depends on the version of OpenSSL.
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"})
# The peer speaks TLS, but refuses this client.
_REFUSED_HANDSHAKE = frozenset(
    {
        "UNSUPPORTED_PROTOCOL",
        "NO_PROTOCOLS_AVAILABLE",
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "SSLV3_ALERT_HANDSHAKE_FAILURE",
        "TLSV13_ALERT_CERTIFICATE_REQUIRED",
    }
)
# The peer was shown a client certificate, and does not take it.
_REFUSED_CERTIFICATE = frozenset(
    {
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
        "SSLV3_ALERT_CERTIFICATE_REVOKED",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        "TLSV1_ALERT_UNKNOWN_CA",
        "TLSV1_ALERT_ACCESS_DENIED",
    }
)
_BY_OPENSSL = (ssl.SSLError, ssl.SSLCertVerificationError)
"""Exactly these: their other subclasses stand for a connection that ended."""


def lasting_tls_fault(error: aiohttp.ClientConnectionError) -> str | None:
    """Describe a TLS failure that another attempt would not change.

    Args:
        error: the error of aiohttp when it connected, or lost a connection.

    Returns:
        The sentence, or None for any other failure.
    """
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error.__cause__
    if not isinstance(cause, ssl.SSLError) or type(cause) not in _BY_OPENSSL:
        return None
    peer = "the server"
    if isinstance(error, aiohttp.ClientConnectorError):
        host = f"[{error.host}]" if ":" in error.host else error.host
        peer = f"https://{host}:{error.port}"
    if isinstance(cause, ssl.SSLCertVerificationError):
        fault = one_line(cause.verify_message or str(cause)).rstrip(".")
        return f"the certificate of {peer} does not verify: {fault}; {_remedy(cause.verify_code)}"
    if cause.reason in _NO_TLS:
        return f"{peer} does not speak TLS: if it is a plain HTTP server, its URL begins with http:"
    if cause.reason in _REFUSED_HANDSHAKE:
        return (
            f"{peer} refuses to speak TLS with this program: no version or cipher in common, or "
            f"it asks for a client certificate, which --client-cert gives ({cause.reason})"
        )
    if cause.reason in _REFUSED_CERTIFICATE:
        return (
            f"{peer} does not take the client certificate: give one that has not ended, of an "
            f"authority that it trusts ({cause.reason})"
        )
    return None


def _remedy(verify_code: int) -> str:
    if verify_code in _WRONG_NAME:
        return "use a URL with a name that the certificate is for"
    if verify_code in _WRONG_TIME:
        return "have it renewed, or set the clock of this machine"
    named = os.environ.get("SSL_CERT_FILE")
    if named and not os.access(named, os.R_OK):
        return f"the file that SSL_CERT_FILE names, {named!r}, cannot be read"
    return (
        "name a file with the certificates to trust: --ca, ca_file of Credentials, or the "
        "environment variable SSL_CERT_FILE"
    )
