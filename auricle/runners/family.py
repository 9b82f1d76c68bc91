"""Runs a family of models, each asked for the windows only that enter its gate.

Shape letters: B windows, K labels of the family, E values of the embedding, of the member on top.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from auricle.gating import follow_gates, plan_gates
from auricle.runners.windows import check_windows


class FamilyRunner:
    """See `auricle.runners.load_runner`.

    Members that take the same embeddings of the same windows share them.

    Args:
        artifact: of the family: labels, parents, gates, unasked, window.
        members: name -> runner of each.
    """

    def __init__(self, artifact: Any, members: Mapping[str, Any]):
        self.artifact = artifact
        self.members = dict(members)
        labels = {name: runner.artifact.labels for name, runner in self.members.items()}
        self._gating = plan_gates(artifact.labels, artifact.parents, labels, artifact.gates, artifact.unasked)

    def run(self, waveforms_BN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(B, window) float32 -> logits (B, K) and embeddings (B, E), float32, for any B."""
        check_windows(waveforms_BN, self.artifact.window)
        embeddings_BE = np.empty((len(waveforms_BN), self.artifact.embedding_size), np.float32)
        made: dict[Any, np.ndarray] = {}  # what an embedder gave of all windows

        def ask(name: str, rows: np.ndarray) -> np.ndarray:
            runner, on_top = self.members[name], name == self._gating.root
            key = shared_embedding(runner)
            if key is not None and on_top:
                made[key] = runner.embed(waveforms_BN)
            if key in made:
                logits, embeddings = runner.run_embedded(waveforms_BN[rows], made[key][rows])
            else:
                logits, embeddings = runner.run(waveforms_BN[rows])
            if on_top:
                embeddings_BE[:] = embeddings
            return np.asarray(logits)

        if not len(waveforms_BN):
            return np.empty((0, self._gating.num_labels), np.float32), embeddings_BE
        return follow_gates(self._gating, len(waveforms_BN), ask), embeddings_BE


def shared_embedding(runner: Any) -> tuple[Any, ...] | None:
    """What tells apart the embeddings that a model takes beside its waveform; None where it takes none.

    >>> from types import SimpleNamespace
    >>> shared_embedding(SimpleNamespace(artifact=SimpleNamespace(embedding_entry={})))
    """
    entry = runner.artifact.embedding_entry
    if not entry or not hasattr(runner, "run_embedded"):
        return None
    return entry["fingerprint"], entry["windows"], runner.artifact.rate
