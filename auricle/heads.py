"""A linear classifier on a model's embeddings, saved as a model like any other.

The folder has the classifier as an ONNX graph and its embedder, the whole of it, in `embedder/`: it runs on
waveforms, without torch where its embedder does.

Shape letters: D values of an embedding, K labels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from auricle.artifact import Artifact, embedding_input, load_artifact, save_artifact
from auricle.artifact.embeddings import LINEAR
from auricle.artifact.linear_graph import MOST, TINY, linear_graph
from auricle.linear import Linear
from auricle.runners import load_runner
from auricle.runners.composed import embed_windows


def save_head(
    path: str | Path,
    embedder: str | Path | Artifact,
    linear: Linear,
    labels: Sequence[str],
    **fields: Any,
) -> Artifact:
    """Write the folder of a model: the embedder and, on its embeddings, the classifier.

    Windows stand as the embedder's do, and `embed` gives the embedder's own embeddings.

    Args:
        path: the folder.
        embedder: name, folder, .onnx file, or an artifact. Of a model that this function made, its embedder
            is taken: the embeddings are the same.
        linear: solved on embeddings of the embedder's windows, see `auricle.linear`.
        labels: K names, of the first columns; one more column, of a softmax, is what has none of them.
        **fields: further fields of `Artifact`: training, metrics, licence, notes.

    Raises:
        ValueError: no such embedder, or the classifier is of another size.

    >>> save_head("runs/birds/last", "default", linear, ["owl", "wren"]).num_classes  # doctest: +SKIP
    2
    """
    source = embedder_of(embedder)
    hidden = linear.weights.shape[1] - len(labels)
    if linear.weights.shape[0] != source.embedding_size or hidden not in (0, 1):
        raise ValueError(
            f"{source.path}: gives embeddings of {source.embedding_size} values and there are {len(labels)} "
            f"labels, but the classifier is of {linear.weights.shape[0]} values and {linear.weights.shape[1]}"
        )
    content = linear_graph(linear.weights, linear.bias, softmax=linear.kind == "one", hidden=hidden)
    described: dict[str, Any] = {
        "architecture": {"name": LINEAR, "arguments": {"kind": linear.kind, "hidden": hidden}},
        "inputs": [embedding_input(source)],
        "labels": tuple(labels),
        "window": source.window,
        "hop": source.hop,
        "tail": source.tail,
        "embedding_size": source.embedding_size,
        "licence": source.licence,
    }
    waveform = _noise_and_tone(source.window, source.rate)
    embeddings = embed_windows(load_runner(source, batch=2), waveform)[:, 0]
    logits = shown_logits(linear, embeddings, len(labels))
    described["tolerance"] = max(
        source.tolerance if not source.labels else 0.0, _tolerance(linear, embeddings)
    )
    return save_artifact(
        path, onnx=content, check=(waveform, logits), embedder=source.path, **(described | fields)
    )


def shown_logits(linear: Linear, embeddings_ND: np.ndarray, labels: int) -> np.ndarray:
    """(N, K) float64 logits whose sigmoid is the score, as the saved graph gives them.

    >>> shown_logits(Linear(np.eye(2), np.zeros(2), "one", 1.0, 0.0, 0.0), np.array([[3.0, 0.0]]), 1).round(3)
    array([[3.]])
    """
    if linear.kind != "one":
        return linear.logits(embeddings_ND)
    shares = linear.scores(embeddings_ND)
    rest = shares @ (1 - np.eye(shares.shape[1], labels))
    odds = np.log(np.maximum(shares[:, :labels], TINY)) - np.log(np.maximum(rest, TINY))
    return np.asarray(np.clip(odds, -MOST, MOST))


def embedder_of(model: str | Path | Artifact) -> Artifact:
    """The model whose embeddings a classifier on `model` stands on: itself; of `save_head`'s its embedder.

    >>> embedder_of("default").labels[:1]  # doctest: +SKIP
    ('airplane',)
    """
    artifact = model if isinstance(model, Artifact) else load_artifact(model)
    while artifact.architecture.get("name") == LINEAR and artifact.embedder is not None:
        artifact = artifact.embedder
    return artifact


def _tolerance(linear: Linear, embeddings_ND: np.ndarray) -> float:
    """How far a logit may be off elsewhere: embeddings differ by a few units of float32's last place."""
    reach = np.abs(embeddings_ND) @ np.abs(linear.weights)
    return float(f"{min(1.0, max(1e-4, 4e-6 * float(reach.max()))):.1g}")


def _noise_and_tone(window: int, rate: int) -> np.ndarray:
    """(2, window) float32, in which any change of what comes before the classifier shows."""
    time = np.arange(window) / rate
    noise = np.random.default_rng(0).standard_normal(window) * 0.1
    tone = 0.5 * np.sin(2 * np.pi * (200 + 1000 * time) * time)
    return np.stack([noise, tone]).astype(np.float32)


__all__ = ["embedder_of", "save_head", "shown_logits"]
