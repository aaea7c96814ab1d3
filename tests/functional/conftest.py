"""Fixtures of the functional tests."""

from tests.support.attacked import attacked

__all__ = ["attacked"]
