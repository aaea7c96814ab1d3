"""A session on the server: kept alive by heartbeats, opened anew when its hard life is over."""

from __future__ import annotations

import threading
from typing import Literal

from muniment.client.transport.server import Server
from muniment.model.errors import MunimentError, SessionExpired
from muniment.model.ids import SessionId, VaultId
from muniment.wire import messages as wire


class Session:
    """Holds the current session id. Everything sent under an expired session stays, so a new one goes on."""

    def __init__(
        self,
        server: Server,
        vault: VaultId,
        *,
        purpose: Literal["backup", "restore"],
        version: str,
        cursor: int = 0,
    ) -> None:
        self._server, self._vault = server, vault
        self._request = wire.OpenSession(purpose=purpose, client_version=version, cursor=cursor)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self.opened = server.open_session(vault, self._request)
        self._id = SessionId.parse(self.opened.session)
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._heart.start()

    @property
    def current(self) -> SessionId:
        return self._id

    def renew(self, expired: SessionId) -> SessionId:
        """The session to use instead of `expired`; several threads may ask for the same one."""
        with self._lock:
            if self._id == expired:
                self._id = SessionId.parse(self._server.open_session(self._vault, self._request).session)
            return self._id

    def close(self) -> None:
        """Say goodbye; what cannot be said now, the server finds out by silence."""
        self._over.set()
        try:
            self._server.close_session(self._vault, self._id)
        except MunimentError:
            pass

    def abandon(self) -> None:
        """Stop the heartbeat without a word, for a run that ends because the server is away."""
        self._over.set()

    def _beat(self) -> None:
        interval = max(1, self.opened.heartbeat_seconds)
        while not self._over.wait(interval):
            current = self._id
            try:
                self._server.heartbeat(self._vault, current)
            except SessionExpired:
                try:
                    self.renew(current)
                except MunimentError:
                    continue
            except MunimentError:
                # The requests that matter meet the same trouble, and report it.
                continue
