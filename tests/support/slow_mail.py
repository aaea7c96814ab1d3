"""A mail server on loopback that takes its time: what is under way there can be watched, and killed."""

from __future__ import annotations

import socket
import threading
from typing import BinaryIO


class SlowMailServer:
    """`taken` are the recipients whose mail it took. While `open` is not set it takes none, and `waiting`
    says how many wait for it.
    """

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.waiting = 0
        self.open = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"smtp://127.0.0.1:{self._listener.getsockname()[1]}?tls=off"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self.open.set()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(peer,), daemon=True).start()

    def _talk(self, peer: socket.socket) -> None:
        with peer, peer.makefile("rb") as said:
            try:
                self._answer(peer, said)
            except OSError:
                return  # it was killed while it waited

    def _answer(self, peer: socket.socket, said: BinaryIO) -> None:
        recipient = ""
        peer.sendall(b"220 here\r\n")
        for line in said:
            word = line[:4].upper()
            if word == b"RCPT":
                recipient = line.decode().partition("<")[2].partition(">")[0]
            if word != b"DATA":
                peer.sendall(b"221 bye\r\n" if word == b"QUIT" else b"250 yes\r\n")
                continue
            peer.sendall(b"354 go on\r\n")
            while said.readline() not in (b".\r\n", b""):
                pass
            self.waiting += 1
            self.open.wait()
            self.waiting -= 1
            peer.sendall(b"250 taken\r\n")
            self.taken.append(recipient)
