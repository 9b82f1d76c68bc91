"""An index of embeddings, in which similar moments of recordings are found, and chosen to be labelled.

`layout.py` has its files, `store.py` reads them, `writing.py` writes them; `nearest.py` says what is similar,
`examples.py` which part of an example is silence, `copies.py` what is one sound under several names,
`proposals.py` what to label next, `answers.py` what was said. `graphs.py` alone uses usearch, where that is
installed. The job that fills an index is `auricle.engine.indexing`.
"""

from auricle.search.nearest import find_moments
from auricle.search.store import Moment, VectorIndex

__all__ = ["Moment", "VectorIndex", "find_moments"]
