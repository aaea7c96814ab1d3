"""Muniment: online backup whose operator cannot look."""

__version__ = "0.1.0"
