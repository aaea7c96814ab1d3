"""Boxes that only this server opens, for links, second factors and opting out: a key for each use."""

from __future__ import annotations

import base64

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings


def box_for(use: str) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(key_for(use)))


def key_for(use: str) -> bytes:
    """Derived from the site's secret (`keyfiles.site_secret`) by HKDF, RFC 5869: one for all processes."""
    derived = HKDF(SHA256(), 32, salt=None, info=f"muniment/{use}".encode())
    return derived.derive(str(settings.SECRET_KEY).encode())
