"""Turns recordings into tags."""

__version__ = "0.1.0"
