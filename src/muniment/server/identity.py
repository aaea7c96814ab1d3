"""The server's identity: one ECDSA P-256 key, made at first start and kept for life.

Enrolment codes and recovery kits carry a hash of its public half. With `--tls self` the server's certificate
is made from it, so that a client can trust exactly this server without any authority.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from muniment.server.keyfiles import create_once

_KEY_FILE = "identity.pem"
_CERTIFICATE_FILE = "identity.crt"
_CERTIFICATE_YEARS = 100


def load_identity(data: Path) -> ec.EllipticCurvePrivateKey:
    """The key in `data`, made when there is none. Safe beside another process doing the same."""
    path = data / _KEY_FILE
    if not path.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        create_once(path, pem)
    loaded = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path} holds another kind of key")
    return loaded


def public_key_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    """SubjectPublicKeyInfo, DER."""
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def self_certificate(
    data: Path, key: ec.EllipticCurvePrivateKey, *, host: str, now: datetime
) -> tuple[Path, Path]:
    """(certificate file, key file) for `--tls self`; the certificate is made once."""
    path = data / _CERTIFICATE_FILE
    if not path.exists():
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Muniment server")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=365 * _CERTIFICATE_YEARS))
            .add_extension(x509.SubjectAlternativeName(_names(host)), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        create_once(path, certificate.public_bytes(serialization.Encoding.PEM))
    return path, data / _KEY_FILE


def _names(host: str) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ip_address("127.0.0.1")),
        x509.IPAddress(ip_address("::1")),
    ]
    try:
        address = ip_address(host)
    except ValueError:
        return names if host == "localhost" else [*names, x509.DNSName(host)]
    return names if address.is_loopback or address.is_unspecified else [*names, x509.IPAddress(address)]
