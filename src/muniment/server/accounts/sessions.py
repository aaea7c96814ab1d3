"""Django's session engine on our own table: rows belong to an account, and hold a hash of the cookie.

Settings name this module as SESSION_ENGINE; Django looks for `SessionStore` in it.
"""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import uuid4

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.db import DatabaseError, IntegrityError, transaction
from django.utils import timezone

from muniment.server.accounts.models import WebSession

_PROVED_BY = "account_authentication_methods_user"
"""Where allauth keeps whose password was right; from then on a session tells about that person."""


def session_hash(key: str) -> str:
    """Keys are 160 random bits, so a plain hash cannot be searched."""
    return hashlib.sha256(key.encode()).hexdigest()


def is_signed_in(row: WebSession) -> bool:
    """Not one that stopped at the second factor, or before a guardian agreed."""
    return SESSION_KEY in SessionStore().decode(row.session_data)


class SessionStore(DatabaseStore):
    @classmethod
    def get_model_class(cls) -> type[WebSession]:
        return WebSession

    def _get_session_from_db(self) -> WebSession | None:
        row = WebSession.objects.filter(
            session_key=session_hash(self.session_key or ""), expire_date__gt=timezone.now()
        ).first()
        if row is None:
            self._session_key = None
        return row

    def exists(self, session_key: str) -> bool:
        return WebSession.objects.filter(session_key=session_hash(session_key)).exists()

    def delete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key is not None:
            WebSession.objects.filter(session_key=session_hash(key)).delete()

    def save(self, must_create: bool = False) -> None:  # noqa: FBT001, FBT002, Django's signature
        """Raises CreateError: the key is taken. UpdateError: the row is gone. Django expects both."""
        if self.session_key is None:
            self.create()
            return
        data: dict[str, Any] = self._get_session(no_load=must_create)  # type: ignore[attr-defined]
        key, now = session_hash(self._get_or_create_session_key()), timezone.now()  # type: ignore[attr-defined]
        values = {
            "session_data": self.encode(data),
            "expire_date": self.get_expiry_date(),
            "account_id": data.get(SESSION_KEY) or data.get(_PROVED_BY),
            "seen_at": now,
        }
        try:
            with transaction.atomic():
                if must_create:
                    WebSession.objects.create(session_key=key, ref=uuid4(), made_at=now, **values)
                elif not WebSession.objects.filter(session_key=key).update(**values):
                    raise UpdateError
        except IntegrityError:
            if must_create:
                raise CreateError from None
            raise
        except DatabaseError:
            if not must_create:
                raise UpdateError from None
            raise
