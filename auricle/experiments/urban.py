"""Tables 3 and 4 of Tompkins and Nichols, 2019: urban sounds, by a network and embeddings, and by baselines.

Source: "DCASE 2019 Challenge Task 5: CNN+VGGish", technical report, 2019, tables 3 and 4, and what its text
compares without figures: the network without embeddings (4.1), the plain VGGish (4), what is taken for a
label (3.2), outputs (1), a family with a label for everything else (6), weights of classes (5), changes of
sound (3.1). Each row is trained by the recipe `tompkins`, most of them on embeddings that are stored with
the pack, and so without changes of sound.

The baselines are those of the organisers: logistic regressions on each embedding alone, standardised,
averaged over a clip's windows, that learn what any annotator said: the complete fine labels, what is unknown
left out of the loss, and the coarse ones. Ours: the optimizer and its length, checkpoints by micro AUPRC in
the place of an early stop, no decay of weights; positives of a class whose kind is unknown are learned.

All trainings of a table have as many mini-batches, and are validated as often: epochs are of the clips that
the table trains on, whatever share of them a model of a family has.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auricle.datasets.taxonomy import Taxonomy
from auricle.evaluation.truth import LABEL_SET as VERIFIED
from auricle.evaluation.truth import packed_taxonomy
from auricle.experiments.embeddings import stored_shape
from auricle.experiments.options import Experiment, Options, Run, base_config, with_seeds
from auricle.experiments.urban_claims import FIGURE_OF, PAPER, row_names, urban_claims
from auricle.experiments.urban_judging import URBAN_FIGURES
from auricle.features import num_frames
from auricle.recipes.tompkins import tompkins
from auricle.shards import Pack
from auricle.shards.labels import add_label_view
from auricle.training import TrainConfig, configure
from auricle.training.family import taxonomy_of

LABEL_SET = "agreement50"
FUSION, CNN, PLAIN, LOGISTIC = "urban_fusion", "urban_cnn", "vggish", "fully_connected"
LOGISTIC_RATE = 3e-3  # the best of 1e-3, 3e-3, 1e-2 on validation; of other networks the recipe's
PLAIN_WIDTH = 0.25  # 57 million weights; the whole has 911 million
# Within the epochs of a table the recipe's patience of 10 would hardly cut the rate, and its lowest rate of
# 1e-6, five waits from the first, never let it begin again.
SCHEDULE = {"patience": 2, "lowest_rate": 1e-4}
BASELINE_TIMES = 5  # as long as the others: a logistic regression learns slowly, and costs little
BOTH = {"fine": "best", "coarse": f"best-{FIGURE_OF['coarse']}"}
CHANGES = ("pitch_semitones", "gain_decibels", "noise")
ROWS = (
    "fusion", "cnn", "baseline-fine", "baseline-coarse", "hierarchical", "hierarchical-all",
    "hierarchical-other", "coarse", "fine", "weights-none", "weights-full", "agreement25", "agreement50",
    "agreement75", "soft", "masked", "augmented", "vggish",
)  # fmt: skip
ASKED_FOR = ("bilinear", "pitch", "volume", "noise")  # only there where they are named
NEED_EMBEDDINGS = ("fusion", "baseline-fine", "baseline-coarse", "bilinear")
ANY_VOTE = ("agreement0", "agreement25")  # what baselines learn: the second is any vote of up to three
SETS = ("agreement25", "agreement50", "agreement75", "soft")  # rows of a label set of their name
FAMILIES: dict[str, dict[str, Any]] = {
    "hierarchical": {"top": "coarse", "other": False},
    "hierarchical-all": {"top": "all", "other": False},
    "hierarchical-other": {"top": "coarse", "other": True},
}
FIXED = (  # settings that have an option of their own, or that rows differ in
    "name", "model", "seed", "steps", "epochs", "batch", "learning_rate", "label_set", "train_splits",
    "validation_splits", "train_subset", "validation_subset", "embeddings", "embedder", "embedding_windows",
    "class_weights", "unknown", "monitors", "finetune_steps", "finetune_epochs", *CHANGES,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """What a pack has for these tables.

    Args:
        pack: whose clips and labels.
        label_set: that most rows learn.
        any_vote: that the baselines learn.
        clips: how many there are to train on.
        taxonomy: of the labels.
        embeddings: name of the stored set; "" for none.
        embedder: the model that made it.
        windows: embeddings of a clip.
        size: of an embedding.
    """

    pack: Pack
    label_set: str
    any_vote: str
    clips: int
    taxonomy: Taxonomy
    embeddings: str = ""
    embedder: str = ""
    windows: int = 0
    size: int = 0

    @property
    def names(self) -> dict[str, str]:
        """Row -> its name in the table."""
        return row_names(f"CNN+{self.embeddings}" if self.embeddings else "CNN alone", self.embeddings)


def urban(options: Options) -> Experiment:
    """The rows of `options.rows`, or all that the pack can serve.

    Adds to the pack the label sets that rows learn: of the fine labels, the complete fine ones and the coarse
    ones.

    Raises:
        ValueError: the pack lacks a label set, its taxonomy, a verified truth or embeddings; a row is not
            known; there are no splits to follow; or a setting does not fit.
    """
    check_options(options)
    corpus = open_corpus(options)
    rows = choose_rows(options, corpus)
    runs: tuple[Run, ...] = ()
    for row in rows:
        runs += runs_of(row, options, corpus)
    there = [*rows, *["fusion-fine"] * ("fusion" in rows)]
    return Experiment(
        title="Urban sound tagging",
        source="Tompkins and Nichols 2019, tables 3 and 4",
        columns=("train_clips", "steps", "cuts", "restarts", "hours", "weights", "multiplies"),
        runs=runs,
        claims=urban_claims(corpus.names, bool(corpus.embeddings)),
        paper_only=tuple(PAPER[row] for row in PAPER if row not in there),
        notes=notes(options, corpus, rows),
        figures=URBAN_FIGURES,
    )


def check_options(options: Options) -> None:
    """Refuse what these rows would ignore, or cannot do without."""
    if not options.validation_splits:
        raise ValueError(
            "the rate and the checkpoints follow a validation split, and none is called validate or "
            "validation: name one with --validation-splits"
        )
    for given, hint in (
        (options.models, "--models: rows have names here; choose them with --rows"),
        (options.judge_training, "--judge-training is by mAP, which this table has not; leave it out"),
        (options.mixtures, "--mixtures are judged by mAP, which this table has not; leave them out"),
    ):
        if given:
            raise ValueError(hint)
    for key in [*options.settings, *(key for own in options.model_settings.values() for key in own)]:
        if key in FIXED:
            raise ValueError(
                f"--set {key}: rows differ in it, or it has an option of its own (--help); leave it out"
            )


def open_corpus(options: Options) -> Corpus:
    """What the pack has, and the embeddings that were named; without a name, its only set.

    Raises:
        ValueError: a label set or its taxonomy is missing, or there are several sets of embeddings.
    """
    pack = Pack(options.data)
    packed_taxonomy(pack, VERIFIED)
    label_set = LABEL_SET if options.label_set == "labels" else options.label_set
    taxonomy = packed_taxonomy(pack, label_set)
    any_vote = next((name for name in ANY_VOTE if name in pack.label_sets), label_set)
    corpus = Corpus(
        pack=pack,
        label_set=label_set,
        any_vote=any_vote,
        clips=len(pack.select(options.train_splits)),
        taxonomy=taxonomy,
    )
    given = options.embeddings or tuple(pack.embedding_sets)
    if not given:
        return corpus
    if len(given) > 1:
        raise ValueError(
            f"one set of embeddings stands beside the network, and here are {', '.join(given)}: choose one "
            "with --embeddings NAME, or NAME=MODEL"
        )
    name, _, embedder = given[0].partition("=")
    windows, size = stored_shape(pack, name)
    return dataclasses.replace(
        corpus,
        embeddings=name,
        embedder=embedder or embedder_of(pack, name),
        windows=windows,
        size=size,
    )


def embedder_of(pack: Pack, name: str) -> str:
    """Where a stored set says that its model lies; its name where it is no longer there."""
    about = pack.embeddings(name).about
    path = str(about.get("path", ""))
    return path if path and Path(path).exists() else str(about["model"])


def choose_rows(options: Options, corpus: Corpus) -> list[str]:
    """The rows asked for, in the table's order; or all that the pack can serve.

    Raises:
        ValueError: a row is not known, or the pack lacks what it takes.
    """
    known = (*ROWS, *ASKED_FOR)
    if unknown := [row for row in options.rows if row not in known]:
        raise ValueError(f"--rows {unknown[0]}: not known; there are: {', '.join(known)}")
    lacking: dict[str, str] = {}
    if not corpus.embeddings:
        why = "needs embeddings of the pack (auricle embed), and there are none"
        lacking |= dict.fromkeys(NEED_EMBEDDINGS, why)
    for row in SETS:
        if row == corpus.label_set:
            lacking[row] = "is what all rows learn"
        elif row not in corpus.pack.label_sets:
            lacking[row] = f"needs a label set {row} of the pack (auricle annotations), and there is none"
    if refused := [row for row in options.rows if row in lacking]:
        raise ValueError(f"--rows {refused[0]}: {lacking[refused[0]]}")
    chosen = options.rows or tuple(row for row in ROWS if row not in lacking)
    return [row for row in known if row in chosen]


def runs_of(row: str, options: Options, corpus: Corpus) -> tuple[Run, ...]:
    """The runs of one row; of "fusion", those of two rows, from one training."""
    make, checkpoints = making(row, options, corpus)
    rest: dict[str, Any] = {
        "evaluation": {"protocol": "urban", "splits": options.test_splits, "label_set": VERIFIED},
        "checkpoints": checkpoints,
        "family": FAMILIES.get(row),
        "paper": PAPER.get(row, ("", {}))[1],
    }
    if row != "fusion":
        return with_seeds(options, corpus.names[row], make, **rest)
    one, two = BOTH["coarse"], BOTH["fine"]
    first = with_seeds(
        options, corpus.names["fusion"], make, **rest | {"checkpoints": dict.fromkeys(FIGURE_OF, one)}
    )
    second: tuple[Run, ...] = ()
    for run in first:
        alone = dataclasses.replace(options, seeds=(run.config.seed,))
        own = {"checkpoints": dict.fromkeys(FIGURE_OF, two), "paper": PAPER["fusion-fine"][1]}
        second += with_seeds(alone, corpus.names["fusion-fine"], make, of=run.name, **rest | own)
    return first + second


def making(
    row: str, options: Options, corpus: Corpus
) -> tuple[Callable[[int], TrainConfig], Mapping[str, str]]:
    """Seed -> configuration of a row; and the checkpoint by which each level of it is judged."""
    changes: dict[str, Any] = {"label_set": corpus.label_set}
    checkpoints: Mapping[str, str] = BOTH
    model = FUSION if corpus.embeddings else CNN
    taxonomy = corpus.taxonomy
    told = "all"  # as the member of a family that it is, so that it need not be trained again
    if row in FAMILIES:
        checkpoints, told = dict.fromkeys(FIGURE_OF, "best"), ""
    elif row in ("cnn", "vggish"):
        model = CNN if row == "cnn" else PLAIN
    elif row == "bilinear":
        changes["model_arguments"] = {"fusion": "bilinear"}
    elif row == "fine":
        changes["label_set"] = view(corpus, "fine", taxonomy.fine_labels)
    elif row == "coarse":
        changes |= {"label_set": view(corpus, "coarse", taxonomy.coarse), "monitors": (FIGURE_OF["coarse"],)}
        checkpoints, told = {"coarse": "best"}, "coarse"
    elif row in SETS:
        taxonomy_of(corpus.pack, row)
        changes["label_set"] = row
    elif row.startswith("weights-"):
        changes["class_weights"] = {"weights-none": 0.0, "weights-full": 1.0}[row]
    elif row == "masked":
        changes["unknown"] = "mask"
    elif row.startswith("baseline-"):
        model = LOGISTIC
        changes |= {"unknown": "mask", "class_weights": 0.0}
        any_vote = dataclasses.replace(corpus, label_set=corpus.any_vote)
        changes["label_set"] = view(any_vote, "complete", taxonomy.complete_labels)
        if row == "baseline-coarse":
            changes |= {"label_set": view(any_vote, "coarse", taxonomy.coarse)}
            changes |= {"monitors": (FIGURE_OF["coarse"],)}
            checkpoints = {"coarse": "best"}
    changed = {"augmented": CHANGES, "pitch": CHANGES[:1], "volume": CHANGES[1:2], "noise": CHANGES[2:]}
    kept = changed.get(row, ())

    def make(seed: int) -> TrainConfig:
        return urban_config(options, corpus, model, told, kept, seed=seed, **changes)

    return make, checkpoints


def urban_config(
    options: Options, corpus: Corpus, model: str, told: str, kept: Sequence[str], **changes: Any
) -> TrainConfig:
    """One row's training, by the recipe `tompkins`.

    Args:
        options: of the comparison.
        corpus: whose embeddings.
        model: the network.
        told: what its name says after the network's.
        kept: the recipe's changes of sound that this row has; with any, embeddings are made on the fly.
        changes: further fields.
    """
    start = tompkins(options.data)
    arguments = dict(changes.pop("model_arguments", {}))
    given: dict[str, Any] = {
        "name": f"{model}, compared" + f", {told}" * bool(told),
        "schedule": start.schedule,
        "learning_rate": options.learning_rates.get(
            model, LOGISTIC_RATE if model == LOGISTIC else start.learning_rate
        ),
        **{name: getattr(start, name) if name in kept else type(getattr(start, name))() for name in CHANGES},
        **SCHEDULE,
        **length(options, corpus, BASELINE_TIMES if model == LOGISTIC else 1),
    }
    if model in (FUSION, LOGISTIC):
        given |= {"embeddings": "" if kept else corpus.embeddings, "embedder": corpus.embedder}
    if model == FUSION:
        given["embedding_windows"] = corpus.windows
        arguments["input_shape"] = [heard_shape(options, model), [corpus.windows, corpus.size]]
    elif model == LOGISTIC:
        given["embedding_windows"] = 1
        arguments |= {"layers": 0, "input_kind": "embedding", "input_shape": [1, corpus.size]}
        arguments["standardised"] = True
    elif model == PLAIN:
        given["embedding_windows"] = 1
        arguments["input_shape"] = heard_shape(options, model)
        options = dataclasses.replace(options, width=PLAIN_WIDTH * options.width)
    return base_config(options, model, tompkins, **{**given, "model_arguments": arguments, **changes})


def heard_shape(options: Options, model: str) -> list[int]:
    """(1, frames, bands) of a window, as the recipe and the settings cut it."""
    own = {**options.settings, **options.model_settings.get(model, {})}
    cut = {key: text for key, text in own.items() if key == "window" or key.partition(".")[0] == "features"}
    config = configure(tompkins(options.data), cut)
    return [1, num_frames(config.window, config.features), config.features.bands]


def length(options: Options, corpus: Corpus, times: int) -> dict[str, Any]:
    """Mini-batches of a training, and after how many of them it is validated."""
    epoch = corpus.clips / options.batch
    steps = options.steps if options.epochs is None else max(1, round(options.epochs * epoch))
    every = max(1, min(round(epoch), steps))
    return {"steps": times * steps, "epochs": None, "validate_every": every, "validate_epochs": None}


def view(corpus: Corpus, name: str, labels: Sequence[str]) -> str:
    """The name of a label set of some labels; put over the pack anew: its source may be another now."""
    made = f"{corpus.label_set}-{name}"
    add_label_view(corpus.pack.path, made, list(labels), of=corpus.label_set, replace=True)
    return made


def notes(options: Options, corpus: Corpus, rows: Sequence[str]) -> tuple[str, ...]:
    """What the caption says of the rows."""
    long = f"{options.steps} mini-batches"
    if options.epochs is not None:
        long = f"{options.epochs:g} epochs of {corpus.clips} clips"
    said = [
        f"Every training has as many mini-batches: {long}, those of the baselines {BASELINE_TIMES} times as "
        "many; each model of a family is a training. The paper does not say how many it had.",
        f"The rate follows validation figures: it is cut after {SCHEDULE['patience']} without a better one, "
        f"down to {SCHEDULE['lowest_rate']:g}, unless set otherwise; cuts and restarts are those that were "
        "trained at, summed over the models of a family.",
        "A row's fine figures are of the checkpoint with the best fine micro AUPRC on validation, its coarse "
        "figures of that with the best coarse one, unless its name says which; a family's models are each "
        "the best of its own labels, a model of all labels on top the best of the fine ones.",
        "Judged by the protocol of the challenge, against what the verified truth says.",
    ]
    if corpus.embeddings:
        made_by = corpus.pack.embeddings(corpus.embeddings).about["model"]
        said.append(
            f"Embeddings, in VGGish's place: {corpus.windows} x {corpus.size} of {made_by}, set "
            f"{corpus.embeddings!r} of the pack; the paper's are 10 x 128 of VGGish."
        )
        said.append("Without changes of sound, but where a row's name says so: embeddings are stored.")
    if "baseline-fine" in rows:
        said.append(
            f"Baselines learn {corpus.any_vote}; the fine one has no outputs for unknown fine labels, which "
            "count as zeros, and its coarse scores are the highest of its fine ones."
        )
    if corpus.label_set != LABEL_SET:
        said.append(f"Labels: {corpus.label_set}.")
    if "vggish" in rows:
        said.append(f"The plain VGGish architecture has {PLAIN_WIDTH:g} of its channels and units.")
    said.append("The paper's figures are on the validation set of SONYC-UST, which its training followed.")
    return tuple(said)
