"""A real server for each test, or one for a module whose tests make accounts of their own."""

from tests.support.server import server, shared_server

__all__ = ["server", "shared_server"]
