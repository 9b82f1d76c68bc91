"""Embeddings that a network gets beside what it hears itself: stored with the pack, or made on the fly.

They are those of the first window of a clip, as `auricle.runners.fusion` lays it down; so a network that was
trained on stored ones is fed the same when it runs on a waveform.

Shape letters: B clips, N samples, T windows and D values of the embeddings, C clips of the pack.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from auricle.artifact import Artifact, load_artifact
from auricle.models import MODELS
from auricle.runners import load_runner
from auricle.runners.fusion import embed_resampled, stored_rows
from auricle.shards import Pack
from auricle.training.config import WAVEFORM_CHANGES, TrainConfig


@dataclass(frozen=True, kw_only=True)
class Beside:
    """Where a network's embeddings come from.

    Args:
        artifact: the model that makes them.
        runner: the same, ready to run.
        rate: Hz of the waveforms that it is given.
        windows: T.
        stored: the pack's embedding set; None where they are made on the fly.
        rows_CT: of every clip of the pack the rows of `stored`; -1 where it has none that serve.
    """

    artifact: Artifact
    runner: Any
    rate: int
    windows: int
    stored: Any = None
    rows_CT: np.ndarray | None = None

    @property
    def shape(self) -> list[int]:
        """(T, D)."""
        return [self.windows, self.artifact.embedding_size]

    def embed(self, waveform_BN: Tensor) -> Tensor:
        """(B, N) of any device -> (B, T, D) float32 on it, by way of the CPU."""
        waveforms = waveform_BN.detach().float().cpu().numpy()
        found = embed_resampled(self.runner, waveforms, self.rate, self.windows)
        return torch.from_numpy(found).to(waveform_BN.device)

    def serves(self, clips: np.ndarray) -> bool:
        """Whether all of some clips have stored embeddings."""
        return self.rows_CT is not None and bool((self.rows_CT[clips] >= 0).all())


def takes_both(config: TrainConfig) -> bool:
    """Whether the model hears, and takes embeddings beside.

    >>> from pathlib import Path
    >>> takes_both(TrainConfig(data=Path("pack"), steps=1))
    False
    """
    return not isinstance(getattr(MODELS.get(config.model), "input_kind", ""), str)


def open_beside(config: TrainConfig, pack: Pack, device: torch.device, find_embedder: Any) -> Beside | None:
    """What stands beside the audio for this model; None for a model that takes one input.

    Args:
        config: `embeddings` names a stored set, `embedder` a model; `embedding_windows` is T.
        pack: trained on.
        device: of the network; an embedder of torch runs there too.
        find_embedder: `auricle.training.outcome.find_embedder`.

    Raises:
        ValueError: neither is named, they do not fit, or the model takes none; the message says which.
    """
    if not takes_both(config):
        if config.embedder and not config.embeddings:
            raise ValueError(
                f"embedder is {config.embedder!r}, but model {config.model!r} takes no embeddings; leave it "
                "out"
            )
        return None
    if not config.embeddings and not config.embedder:
        changed = [name for name in WAVEFORM_CHANGES if getattr(config, name) not in (0, "none", ())]
        sets = ", ".join(pack.embedding_sets) or "none"
        raise ValueError(
            f"model {config.model!r} takes embeddings beside what it hears: set embedder to the model that "
            "makes them"
            + ("" if changed else f", or embeddings to a set of {config.data} (there are: {sets})")
        )
    stored = pack.embeddings(config.embeddings) if config.embeddings else None
    artifact = load_artifact(config.embedder) if stored is None else find_embedder(config, stored)
    if pack.rate < artifact.rate:
        raise ValueError(
            f"{config.data}: is packed at {pack.rate} Hz, but the embedder {artifact.name} needs "
            f"{artifact.rate} Hz; pack again with --rate {artifact.rate} or more"
        )
    rows = None
    if stored is not None:
        rows = stored_rows(
            stored.indptr,
            stored.about,
            pack.lengths,
            rate=pack.rate,
            window=config.window,
            windows=config.embedding_windows,
        )
    where = str(device) if artifact.backend == "torch" else "cpu"
    runner = load_runner(artifact, threads=config.threads, device=where)
    return Beside(
        artifact=artifact,
        runner=runner,
        rate=pack.rate,
        windows=config.embedding_windows,
        stored=stored,
        rows_CT=rows,
    )


def check_stored(beside: Beside | None, pack: Pack, clips: np.ndarray, config: TrainConfig) -> None:
    """Refuse stored embeddings that would not be those of what the network hears.

    Raises:
        ValueError: some clips to train on have none that serve, or are longer than a window, of which any
            stretch may be drawn.
    """
    if beside is None or beside.rows_CT is None:
        return
    longer = int((pack.lengths[clips] > config.window).sum())
    without = int((beside.rows_CT[clips] < 0).any(axis=1).sum())
    if longer or without:
        what = (
            f"{longer} of {len(clips)} clips are longer than a window of {config.window} samples"
            if longer
            else f"{without} of {len(clips)} clips have no {beside.windows} embeddings within a window"
        )
        raise ValueError(
            f"{config.data}: {what}, so embedding set {config.embeddings!r} does not serve; make embeddings "
            "on the fly: set embeddings= and embedder=MODEL"
        )
