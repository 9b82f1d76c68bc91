"""Packs: a corpus as memory-mapped PCM with its labels and embeddings beside it."""

from auricle.shards.embeddings import add_embeddings
from auricle.shards.labels import add_labels
from auricle.shards.reader import Pack, read_manifest

__all__ = ["Pack", "add_embeddings", "add_labels", "read_manifest"]
