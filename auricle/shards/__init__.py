"""Packs: a corpus as memory-mapped PCM with its labels beside it."""

from auricle.shards.labels import add_labels
from auricle.shards.reader import Pack, read_manifest

__all__ = ["Pack", "add_labels", "read_manifest"]
