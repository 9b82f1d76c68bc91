"""Packs: a corpus as memory-mapped PCM with its labels and embeddings beside it."""

from auricle.shards.embeddings import add_embeddings
from auricle.shards.labels import add_label_view, add_labels, most_frequent
from auricle.shards.parents import add_parents, label_parents
from auricle.shards.reader import Pack, read_manifest
from auricle.shards.subsets import add_subset

__all__ = [
    "Pack",
    "add_embeddings",
    "add_label_view",
    "add_labels",
    "add_parents",
    "add_subset",
    "label_parents",
    "most_frequent",
    "read_manifest",
]
