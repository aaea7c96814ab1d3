"""Whom to believe at the other end of TLS: public authorities, a private one, or exactly one key."""

from __future__ import annotations

import hmac
import os
import ssl
from dataclasses import dataclass

from muniment.model.codes import server_key_hash
from muniment.model.errors import UntrustedServer, UsageError


@dataclass(frozen=True, slots=True)
class Trust:
    """`pinned_key` is the hash of the only public key accepted; without it, certificates are checked.

    A pinned server's certificate is judged by its key alone: the handshake proves possession of that key, so
    names and dates in the certificate add nothing.
    """

    ca_file: str = ""
    pinned_key: bytes | None = None

    def context(self) -> ssl.SSLContext:
        """A TLS context; UsageError when the authority file cannot be read."""
        if self.pinned_key is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE  # `check` below does the verifying, before a byte is sent
        else:
            ca_file = self.ca_file or os.environ.get("SSL_CERT_FILE") or None
            try:
                context = ssl.create_default_context(cafile=ca_file)
            except (OSError, ssl.SSLError) as error:
                why = error.strerror or str(error)
                raise UsageError(f"the authority file {ca_file} cannot be used: {why}") from None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context

    def check(self, sock: ssl.SSLSocket) -> None:
        """Refuse a pinned server that proved possession of another key; raises UntrustedServer."""
        if self.pinned_key is None:
            return
        certificate = sock.getpeercert(binary_form=True)
        if certificate is None or not hmac.compare_digest(key_hash_of(certificate), self.pinned_key):
            raise UntrustedServer(
                "the server at this address is not the one this device was connected to: its key is another",
                advice="Do not go on. Ask the operator whether the server's key was replaced; if not, "
                "someone stands between you and it.",
            )


def key_hash_of(certificate: bytes) -> bytes:
    """The hash, as codes and kits carry it, of the public key inside a certificate (DER)."""
    # Loaded here: only pinned servers need it, and it costs a rescan 20 ms.
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = x509.load_der_x509_certificate(certificate).public_key()
    return server_key_hash(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
