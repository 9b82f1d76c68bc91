"""Section 4.4 of Hershey et al. 2017: acoustic event detection on embeddings against log-mel patches.

Source: "CNN Architectures for Large-Scale Audio Classification", ICASSP 2017, section 4.4: two fully
connected models on Audio Set, one on log-mel patches of 64 bands x 20 frames, one on the penultimate layer of
the best ResNet. Here the network that embeds is trained on some of a corpus's classes, and the detectors on
the others; embeddings of any other model may stand beside. How large the two detectors were is not said; here
3 x 1000. The attention heads are those of models/single_attention.py and models/multi_attention.py.
"""

from typing import Any

import numpy as np

from auricle.experiments.options import Claim, Experiment, Options, Run, base_config, with_seeds
from auricle.experiments.runs import build_without_memory, fingerprint
from auricle.experiments.views import label_view, labelled_subset
from auricle.shards import Pack

FRAMES, BANDS = 20, 64
FRAME, FRAME_HOP = 400, 160  # samples
OWN = "own"
LOGMEL = "log-mel, fully_connected"
PAPER = {
    LOGMEL: {"auc": 0.904, "d_prime": 1.846, "map": 0.137},
    OWN: {"auc": 0.959, "d_prime": 2.452, "map": 0.314},
}


def embeddings(options: Options) -> Experiment:
    """The detector on log-mel, then one for each embedding set and each head of `options.heads`.

    Adds to the pack two label views (the embedder's classes, the detectors'), the subsets that judge by them,
    and the embedding set of the network that is trained here (`own`).

    Raises:
        ValueError: a class, an embedding set or a head is not known, or no class is left to detect.
    """
    pack = Pack(options.data)
    theirs, ours = split_labels(pack, options)
    view = label_view(pack, "detected", ours, options.label_set)
    subset = labelled_subset(pack, options.test_splits, view)
    evaluation = {"subset": subset, "label_set": view}
    common: dict[str, Any] = {"label_set": view, "unlabelled": "drop"}
    logmel = {"input_shape": [1, FRAMES, BANDS]}

    def on_logmel(seed: int) -> Any:
        window, hop = FRAME + (FRAMES - 1) * FRAME_HOP, FRAMES * FRAME_HOP
        changes = {**common, "window": window, "hop": hop, "model_arguments": logmel}
        return base_config(options, "fully_connected", seed=seed, **changes)

    runs: tuple[Run, ...] = ()
    described = {"input": f"log-mel {FRAMES} x {BANDS}"}
    sets = [_named(entry) for entry in options.embeddings or (OWN,)]
    embedder = own_embedder(pack, options, theirs) if OWN in dict(sets) else None
    if embedder is not None:
        runs += (embedder,)
    runs += with_seeds(
        options, LOGMEL, on_logmel, evaluation=evaluation, columns=described, paper=PAPER[LOGMEL]
    )
    rows: dict[tuple[str, str], str] = {}
    for name, model in sets:
        if name == OWN:
            assert embedder is not None
            stored, model = embedder.makes_embeddings, str(options.out / "runs" / embedder.name / "last")
            windows, size = own_shape(pack, embedder)
        else:
            stored = name
            windows, size = stored_shape(pack, name)
        for head in options.heads:
            count = 1 if head == "fully_connected" else windows
            row = rows[name, head] = f"{name}, {head}"
            arguments: dict[str, Any] = {"input_shape": [count, size]}
            if head == "fully_connected":
                arguments["input_kind"] = "embedding"
            changes = {
                **common,
                "embeddings": stored,
                "embedder": model,
                "embedding_windows": count,
                "model_arguments": arguments,
            }

            def make(seed: int, head: str = head, changes: dict[str, Any] = changes) -> Any:
                return base_config(options, head, seed=seed, **changes)

            runs += with_seeds(
                options,
                row,
                make,
                evaluation=evaluation,
                columns={"input": f"{count} x {size}"},
                paper=PAPER[OWN] if (name, head) == (OWN, "fully_connected") else {},
            )
    return Experiment(
        title="Embeddings for acoustic event detection",
        source="Hershey et al. 2017, section 4.4",
        columns=("input", "train_clips", "steps", "hours", "weights"),
        runs=runs,
        claims=(
            Claim(
                text="Embeddings beat log-mel.",
                pairs=tuple((row, LOGMEL) for (_, head), row in rows.items() if head == "fully_connected"),
            ),
            Claim(
                text="Attention over time beats the fully connected net on the same embeddings "
                "(not a claim of this paper).",
                pairs=tuple(
                    (row, rows[name, "fully_connected"])
                    for (name, head), row in rows.items()
                    if head != "fully_connected" and (name, "fully_connected") in rows
                ),
            ),
        ),
        paper_only=()
        if (OWN, "fully_connected") in rows
        else (("embeddings of ResNet-50, fully connected", PAPER[OWN]),),
        notes=notes(options, ours, theirs, shared_clips(pack, options, ours, theirs)),
    )


def notes(options: Options, ours: list[str], theirs: list[str], shared: int) -> tuple[str, ...]:
    """What the caption says of who learned which classes."""
    names = [name for name, _ in map(_named, options.embeddings or (OWN,))]
    said = [f"Detectors learn {len(ours)} classes from clips that have one, and are judged on such clips."]
    if OWN in names:
        said.append(
            f"own: {options.embedder} trained here for {options.embedder_steps or options.steps} "
            f"mini-batches on the other {len(theirs)} classes; of the training clips, {shared or 'none'} "
            "have classes of both."
        )
    if others := [name for name in names if name != OWN]:
        said.append(
            f"{', '.join(others)}: made by a model trained elsewhere, maybe on these classes or clips, too."
        )
    return tuple(said)


def shared_clips(pack: Pack, options: Options, ours: list[str], theirs: list[str]) -> int:
    """Training clips that both the embedder and the detectors learn from."""
    names = pack.label_names(options.label_set)
    indptr, clips = pack.label_clips(options.label_set)

    def having(labels: list[str]) -> np.ndarray:
        return np.concatenate([clips[indptr[k] : indptr[k + 1]] for k in map(names.index, labels)])

    both = np.intersect1d(having(ours), having(theirs))
    return len(np.intersect1d(both, pack.select(options.train_splits)))


def split_labels(pack: Pack, options: Options) -> tuple[list[str], list[str]]:
    """The embedder's classes and the detectors', in the label set's order.

    Raises:
        ValueError: a class is not in the label set, or one side has none.
    """
    names = pack.label_names(options.label_set)
    if foreign := sorted(set(options.embedder_labels) - set(names)):
        raise ValueError(
            f"{pack.path}: no label {foreign[0]!r} in {options.label_set!r}: {', '.join(names[:20])}"
        )
    theirs = set(options.embedder_labels or names[::2])
    ours = [name for name in names if name not in theirs]
    if not ours or not theirs:
        raise ValueError(f"{pack.path}: {len(theirs)} classes for the embedder leave {len(ours)} to detect")
    return [name for name in names if name in theirs], ours


def own_embedder(pack: Pack, options: Options, labels: list[str]) -> Run:
    """The network that is trained on the other classes, and then embeds the whole pack."""
    view = label_view(pack, "embedder", labels, options.label_set)
    changes: dict[str, Any] = {
        "label_set": view,
        "unlabelled": "drop",
        "steps": options.embedder_steps or options.steps,
    }
    config = base_config(options, options.embedder, seed=options.seeds[0], **changes)
    run = Run(
        name=f"embedder-seed{options.seeds[0]}",
        row="embedder",
        config=config,
        evaluation={"subset": labelled_subset(pack, options.test_splits, view), "label_set": view},
        shown=False,
    )
    name = f"own-{fingerprint(run)[:8]}"  # another configuration makes another set
    return Run(**{**vars(run), "makes_embeddings": name})


def own_shape(pack: Pack, embedder: Run) -> tuple[int, int]:
    """Windows of a usual clip and values of each, of a set that may not be made yet."""
    config = embedder.config
    if embedder.makes_embeddings in pack.embedding_sets:
        return stored_shape(pack, embedder.makes_embeddings)
    windows = np.maximum(1, (pack.lengths - config.window) // config.hop + 1)
    classes = len(Pack(pack.path).label_names(config.label_set))
    net = build_without_memory(config.model, num_classes=classes, **config.model_arguments)
    return int(np.median(windows)), int(net.embedding_size)


def stored_shape(pack: Pack, name: str) -> tuple[int, int]:
    """Windows of a usual clip and values of each.

    Raises:
        ValueError: the pack has no such set.
    """
    found = pack.embeddings(name)
    counts = np.diff(found.indptr)
    return max(1, int(np.median(counts[counts > 0]))), int(found.values.shape[1])


def _named(entry: str) -> tuple[str, str]:
    """NAME or NAME=MODEL, MODEL being what made the set."""
    name, _, model = entry.partition("=")
    return name, model
