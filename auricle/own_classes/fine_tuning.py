"""A model's whole network trained on somebody's own classes, from its weights and a solved last layer.

The classifier on the frozen embeddings is solved first, and begins as the network's last layer where that is
linear: training then starts from what `train_own` gives, and not from chance.
"""

import dataclasses
import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from auricle.artifact import Artifact, load_artifact, save_artifact
from auricle.artifact.saving import save_changed
from auricle.evaluation import score_clips
from auricle.features import FeatureConfig
from auricle.linear import Linear
from auricle.own_classes.config import OwnClasses
from auricle.own_classes.examples import Examples, embed_examples
from auricle.own_classes.frozen import choose_folds, described, flat, judge_frozen, prepare, said
from auricle.own_classes.judging import USUAL, fit_examples
from auricle.own_classes.report import DROPPED, drop_report, judge, write_report
from auricle.runners import load_runner
from auricle.shards import add_label_view, add_subset
from auricle.training import TrainConfig, train
from auricle.training import configure as change

HEAD = "head"  # how a network's last layer is called
EPOCHS, RATE = 20.0, 3e-4
KIND = "several"  # a network is trained with a sigmoid for each label


def fine_tune_own(
    source: str | Path,
    out: str | Path,
    config: OwnClasses | None = None,
    settings: Mapping[str, str] | None = None,
    *,
    device: str = "auto",
    threads: int | None = None,
    resume: bool = False,
    quiet: bool = False,
    tell: Callable[[str], None] | None = None,
) -> Path:
    """As `auricle.own_classes.train_own`, but the whole network is trained: once a fold, once on all.

    Adds to the pack a label set and a subset for each training, own- and what tells them apart.

    Args:
        source: as in `train_own`, and so are out and config, quiet and tell.
        out: see above; trainings/ has the runs of the folds, and of all clips.
        config: see above.
        settings: of the training, as `auricle train --set` gives them.
        device: to train on, as is threads.
        threads: see above.
        resume: go on where the run was killed.
        quiet: see above.
        tell: see above.

    Returns:
        The folder of the model.

    Raises:
        ValueError: as `train_own`; the model has no weights to train (it is a graph, or has an embedder).

    >>> fine_tune_own("my sounds", "runs/mine", OwnClasses(init_from="runs/base/last"))  # doctest: +SKIP
    PosixPath('runs/mine/last')
    """
    config, tell, run = config or OwnClasses(), tell or (lambda line: None), Path(out)
    model = load_artifact(config.init_from)
    if model.backend != "torch" or model.embedding_entry:
        what = "stands on an embedder" if model.embedding_entry else f"is a graph ({model.backend})"
        raise ValueError(
            f"{config.init_from}: {what}, so there are no weights to train on; leave out --fine-tune, or "
            "start from the folder that training wrote, RUN/best or RUN/last"
        )
    examples = prepare(source, run, model, config, tell, quiet)
    view = own_name(f"{examples.label_set} {examples.labels}".encode())
    add_label_view(examples.pack.path, view, examples.labels, of=examples.label_set, replace=True)
    base = base_config(
        model, examples, label_set=view, name=config.name or run.name, device=device, threads=threads
    )
    base = change(base, settings or {})
    rows, owners = embed_examples(examples, model, stored=config.embeddings, threads=threads, quiet=quiet)
    targets, folds = examples.targets, choose_folds(examples, config, tell)
    penalties: tuple[float, ...] = ()
    penalty = config.penalty or USUAL
    if folds is not None:
        judged = judge_frozen(rows, owners, targets, folds, KIND, config.penalty)
        penalties, penalty = judged.penalties, judged.penalty

    def trained(name: str, mask: np.ndarray, weight: float) -> Path:
        """A network of some clips, from the classifier of the same clips."""
        place, start = run / "trainings" / name, run / "starts" / name
        subset = own_name(examples.clips[mask].tobytes())
        add_subset(
            examples.pack.path, subset, examples.clips[mask], {"made_by": "auricle train"}, replace=True
        )
        found = fit_examples(rows, owners, targets, kind=KIND, penalty=weight, clips=mask)
        start_model(start, model, found, examples.labels)
        changed = dataclasses.replace(base, train_subset=subset, init_from=str(start))
        begun = (place / "config.json").is_file()
        return train(changed, place, resume=resume and begun, quiet=quiet)

    figures: dict[str, Any] = {}
    shown = examples if targets.any(axis=1).all() else dataclasses.replace(examples, kind=KIND)
    if folds is not None:
        scores = np.empty(targets.shape)
        for fold, weight in enumerate(penalties):
            runner = load_runner(
                load_artifact(trained(f"fold{fold + 1}", folds != fold, weight)), threads=threads
            )
            there = np.flatnonzero(folds == fold)
            scores[there] = score_clips(runner, examples.pack, examples.clips[there], quiet=quiet)
        figures = judge(shown, scores, folds)
    last = load_artifact(trained("all", np.ones(len(targets), bool), penalty))
    dropped = drop_report(run)
    save_changed(
        last,
        run / "last",
        training=last.training | described(examples, config, model) | {"config": last.training["config"]},
        metrics=flat(figures),
        notes=f"{model.name}, trained on: all its weights.",
    )
    shutil.rmtree(run / "starts", ignore_errors=True)
    if folds is not None:
        title = f"{config.name or run.name}: {model.name}, its whole network trained"
        write_report(run, shown, scores, folds, figures, title)
        tell(said(figures))
    elif dropped:
        tell(DROPPED)
    return run / "last"


def base_config(
    model: Artifact, examples: Examples, *, label_set: str, name: str, device: str, threads: int | None
) -> TrainConfig:
    """A short training at a low rate of the model's network, with its front end and its windows.

    >>> config = base_config(artifact, examples, **rest)  # doctest: +SKIP
    """
    arguments = {k: v for k, v in model.architecture["arguments"].items() if k != "num_classes"}
    logmel = model.input_kinds[0] == "logmel"
    batch = min(32, len(examples.clips))
    return TrainConfig(
        data=Path(examples.pack.path),
        name=name,
        licence=model.licence,
        model=model.architecture["name"],
        model_arguments=arguments,
        features=model.features if logmel else FeatureConfig(rate=model.rate),
        window=model.window,
        hop=model.hop,
        tail=model.tail,
        pooling=model.pooling,
        label_set=label_set,
        validation_fraction=0.0,
        epochs=EPOCHS,
        batch=batch,
        learning_rate=RATE,
        warmup_steps=10,
        average=0.99,
        gain_decibels=6.0,
        device=device,
        threads=threads,
    )


def own_name(content: bytes) -> str:
    """Name of a label set or subset: of another content another one, and none that somebody else chose.

    >>> own_name(b"owl")
    'own-4a3afe59'
    """
    return f"own-{hashlib.blake2b(content, digest_size=4).hexdigest()}"


def start_model(path: Path, model: Artifact, found: Linear, labels: tuple[str, ...]) -> Artifact:
    """The model with another last layer, the classifier; without one where its own is not linear.

    Only its weights are meant to be used: its check holds zeros.

    >>> start_model(Path("start"), artifact, found, ("owl", "wren")).num_classes  # doctest: +SKIP
    2
    """
    weights = dict(model.read_weights())
    count, size = len(labels), found.weights.shape[0]
    linear = weights.get(f"{HEAD}.weight", np.zeros(0)).shape == (model.num_classes, size)
    if linear:
        weights[f"{HEAD}.weight"] = found.weights.T.astype(np.float32)
        weights[f"{HEAD}.bias"] = found.bias.astype(np.float32)
    return save_artifact(
        path,
        weights=weights,
        check=(np.zeros((1, model.window)), np.zeros((1, count if linear else model.num_classes))),
        name=model.name,
        architecture=model.architecture,
        inputs=model.inputs,
        labels=labels if linear else model.labels,
        window=model.window,
        hop=model.hop,
        tail=model.tail,
        pooling=model.pooling,
        embedding_size=model.embedding_size,
        training=model.training,  # of which the network that starts here has heard, too
    )
