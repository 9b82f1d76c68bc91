"""TrainConfig: everything that decides what a training run computes."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from auricle.augment import MIXINGS
from auricle.changes import NOISES, ChangeRanges
from auricle.features import FeatureConfig
from auricle.pooling import POOLINGS
from auricle.remote import address_of
from auricle.sampling import BALANCES

CHOICES = {
    "optimizer": ("adamw", "adam"),
    "schedule": ("cosine", "step", "constant", "stagnation"),
    "mixing": MIXINGS,
    "finetune_mixing": MIXINGS,
    "balance": BALANCES,
    "precision": ("auto", "bfloat16", "float32"),
    "tail": ("drop", "align"),
    "pooling": ("", *POOLINGS),
    "unlabelled": ("keep", "drop"),
    "unknown": ("negative", "mask"),
}
INFINITY = float("inf")
RANGES = dict.fromkeys(
    ("window", "window_at_use", "hop", "batch", "steps", "finetune_steps", "threads"), (1, INFINITY)
)
RANGES |= dict.fromkeys(("embedding_windows", "accumulate"), (1, INFINITY))
RANGES |= dict.fromkeys(("log_every", "validate_every", "checkpoint_every", "patience"), (1, INFINITY))
RANGES |= dict.fromkeys(("validation_fraction", "average"), (0, 1))
RANGES |= dict.fromkeys(("weight_decay", "warmup_steps", "gain_decibels", "speed_spread"), (0, INFINITY))
RANGES |= dict.fromkeys(("mask_frames", "mask_bands", "drop_at", "seed", "validation_clips"), (0, INFINITY))
RANGES |= dict.fromkeys(("equalize_decibels", "class_weights", "lowest_rate", "gentler"), (0, INFINITY))
RANGES |= {"cut": (0, 1), "degrade": (0, 1)}
POSITIVE = (
    "epochs",
    "learning_rate",
    "clip_norm",
    "finetune_epochs",
    "finetune_rate",
    "validate_epochs",
    "rank_timeout",
)
MACHINE_FIELDS = (  # a resumed run may have others
    "data",
    "device",
    "threads",
    "compile",
    "checkpoint_activations",
    "checkpoint_every",
    "rank_timeout",
)
WAVEFORM_CHANGES = (
    "mixing",
    "finetune_mixing",
    "gain_decibels",
    "speed_spread",
    "degrade",
    "equalize_decibels",
    "mask_frames",
    "mask_bands",
    "pitch_semitones",
    "noise",
)
STAGNATION = {"patience": 10, "cut": 0.1, "lowest_rate": 1e-6, "gentler": 0.1}  # as they come
NOISE = {"noise_share": 0.5, "noise_snr": (10.0, 30.0)}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The whole configuration of a run; kept as RUN/config.json and in the artifact.

    >>> TrainConfig(data=Path("pack"), steps=100).batch
    64
    """

    data: Path  # the pack
    name: str = "model"
    licence: str = ""  # of the weights

    model: str = "compact"
    model_arguments: dict[str, Any] = field(default_factory=dict)  # num_classes comes from the label set
    features: FeatureConfig = field(default_factory=FeatureConfig)
    window: int = 32000  # samples of a patch, in training and at use
    window_at_use: int | None = None  # samples scored at once at use, of a net of any length; None: `window`
    hop: int = 32000  # samples from one window to the next: at use, and on the grid of balance="patches"
    tail: str = "align"  # what happens to an incomplete last window
    pooling: str = ""  # how windows' scores become a clip's; "": their mean
    embeddings: str = (
        ""  # an embedding set of the pack, for models that take embeddings; it says window and hop
    )
    embedding_windows: int = 1  # of an example
    embedder: str = ""  # the model that made them; "" is the one the set names
    init_from: str = ""  # a model whose weights of equal name and shape are taken
    init_prefix: dict[str, str] = field(default_factory=dict)  # how names there begin -> how they begin here

    label_set: str = "labels"
    train_splits: tuple[str, ...] | None = None  # None: all that are not for validation
    validation_splits: tuple[str, ...] = ()
    validation_fraction: float = 0.1  # of the groups, where no split is named; 0 for none
    where: dict[str, tuple[str, ...]] = field(default_factory=dict)  # attribute -> values let through
    teachers: tuple[str, ...] = ()  # models whose word is learned beside the labels (`training.teachers`) ...
    teacher_share: float = 0.5  # ... and how much of each target is theirs
    train_subset: str = ""  # a subset of the pack
    validation_subset: str = ""
    validation_clips: int = 5000  # at most, drawn by the seed; 0 for all
    train_fraction: float = (
        1.0  # of the groups; the same groups whatever the seed, a smaller share in a larger
    )
    unlabelled: str = "keep"  # training clips without a label: "keep" as examples of nothing, or "drop"
    unknown: str = "negative"  # labels of which it is not known whether a clip has them; "mask": not learned
    class_weights: float = 0.0  # positives count (negatives / positives) to this power; 0: as negatives do

    epochs: float | None = None  # how long: this many times every clip ...
    steps: int | None = None  # ... or this many batches; one of the two
    batch: int = 64  # patches of a step; several processes (torchrun) share them out
    # Parts that a batch goes through the network in: less memory, the same gradient but for batch norm, which
    # sees the parts. With batch norm it is another training; `checkpoint_activations` gives the same result.
    accumulate: int = 1
    optimizer: str = "adamw"
    learning_rate: float = 2e-3
    weight_decay: float = 0.02  # of matrices and kernels only
    schedule: str = "cosine"  # to zero; "step": a tenth from `drop_at` on
    warmup_steps: int = 200
    drop_at: float = 13 / 17  # share of the steps (Hershey et al. 2017, section 4.1)
    patience: int = 10  # schedule="stagnation": validations without a better figure, then the rate ...
    cut: float = 0.1  # ... is multiplied by this ...
    lowest_rate: float = 1e-6  # ... down to this; after as many more at this rate it begins again, ...
    gentler: float = 0.1  # ... and this is added to `cut`
    clip_norm: float | None = 5.0  # of the gradient; None leaves it as it is
    average: float = 0.999  # decay of the running average of the weights, which is what is kept; 0 for none

    finetune_epochs: float | None = None  # step two of a two-step training: its length in epochs ...
    finetune_steps: int | None = None  # ... or in batches; neither: there is no step two
    finetune_rate: float = 0.1  # of step two, times `learning_rate`
    finetune_mixing: str = "none"  # of step two

    balance: str = "clips"
    mixing: str = "none"
    mix_range: tuple[float, float] = (0.4, 0.6)  # ratios of mixing="mix_training"; (0, 1) is the general form
    gain_decibels: float = 0.0
    speed_spread: float = 0.0
    pitch_semitones: float = 0.0  # up or down, by a phase vocoder
    noise: tuple[str, ...] = ()  # backgrounds: white, pink, brown, recording
    noise_share: float = 0.5  # of the clips get one
    noise_snr: tuple[float, float] = (10.0, 30.0)  # dB that it lies below the clip
    noise_pack: str = ""  # where noise="recording" comes from; "": the clips that are trained on
    noise_splits: tuple[str, ...] = ()  # of that pack; (): those that are named train
    degrade: float = 0.0  # of the patches in a room, as many in noise, as many over a narrow channel
    equalize_decibels: float = 0.0  # how far each patch's octaves are raised and lowered: another microphone
    mask_frames: int = 0
    mask_bands: int = 0

    checkpoint_activations: bool = False  # compute what blocks hold twice: less memory, the same result
    precision: str = "auto"  # bfloat16 where the processor or GPU is fast at it
    compile: bool = False  # by torch.compile, on a GPU
    sync_batch_norm: bool = False  # statistics of all processes' shares of a batch together, on GPUs
    rank_timeout: float = 600.0  # seconds that one process waits for another before it gives up
    seed: int = 0
    device: str = "auto"
    threads: int | None = None  # None: as torch has it
    log_every: int = 20  # steps
    validate_every: int = 500
    validate_epochs: float | None = None  # validate every so many epochs, whatever `validate_every` says
    monitors: tuple[str, ...] = ("map",)  # validation figures; at the highest of each so far, a model is kept
    checkpoint_every: int = 500

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}; known: {', '.join(known)}")
        if (self.epochs is None) == (self.steps is None):
            raise ValueError(f"expected one of epochs and steps, got {self.epochs} and {self.steps}")
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value < high:
                raise ValueError(
                    f"{name} is {value}; expected at least {low:g}"
                    + (f", below {high:g}" * (high < INFINITY))
                )
        for name in POSITIVE:
            value = getattr(self, name)
            if value is not None and not 0 < value < INFINITY:
                raise ValueError(f"{name} is {value}; expected a number above 0")
        self._check_teachers()
        if not 0 < self.train_fraction <= 1:
            raise ValueError(f"train_fraction is {self.train_fraction}; expected above 0, at most 1")
        if self.accumulate > self.batch:
            raise ValueError(f"accumulate is {self.accumulate}, more parts than the {self.batch} of a batch")
        if self.checkpoint_activations and self.compile:
            raise ValueError(
                "checkpoint_activations and compile are both true, but what is compiled cannot be computed "
                "in blocks; leave one out"
            )
        self._check_mixing()
        self._check_noise()
        self._check_stagnation()
        if not self.monitors or len(set(self.monitors)) < len(self.monitors):
            raise ValueError(
                f"monitors is {', '.join(self.monitors) or 'empty'}; expected figures of validation, each "
                "once, say map"
            )
        if self.embeddings:
            self._refuse_waveform_changes()
            if self.window_at_use is not None:
                raise ValueError(
                    f"window_at_use is {self.window_at_use}, but windows of stored embeddings are those they "
                    "were made of; leave it out"
                )
        elif self.window < self.features.window:
            raise ValueError(f"window is {self.window} samples, fewer than a frame's {self.features.window}")

    def _check_teachers(self) -> None:
        """A share that can be; and nothing set that this training would not use."""
        if not 0 < self.teacher_share <= 1:
            raise ValueError(f"teacher_share is {self.teacher_share}; expected above 0, at most 1")
        if not self.teachers and self.teacher_share != TrainConfig.teacher_share:
            raise ValueError(
                f"teacher_share is {self.teacher_share}, but there is no teacher; set teachers to some"
            )
        if self.teachers and self.embeddings:
            raise ValueError(
                f"teachers hear waveforms, but this training has stored embeddings ({self.embeddings!r}); "
                "leave one of both out"
            )

    @property
    def changes(self) -> ChangeRanges | None:
        """From what changes of pitch, volume and background are drawn; None where there are none."""
        if not self.pitch_semitones and not self.gain_decibels and not self.noise:
            return None
        return ChangeRanges(
            semitones=self.pitch_semitones,
            gain=self.gain_decibels,
            noises=self.noise,
            noise_share=self.noise_share if self.noise else 0.0,
            snr=self.noise_snr,
        )

    @property
    def two_steps(self) -> bool:
        """Whether fine-tuning follows."""
        return self.finetune_steps is not None or self.finetune_epochs is not None

    def _check_mixing(self) -> None:
        """Ratios that can be; and nothing set that this training would not use."""
        ends = self.mix_range
        if len(ends) != 2 or not 0 <= ends[0] <= ends[1] <= 1:
            raise ValueError(f"mix_range is {ends}; expected two numbers from 0 to 1, the smaller first")
        for name in ("mixing", "finetune_mixing"):
            if self.batch < 2 and (how := getattr(self, name)) != "none":
                raise ValueError(
                    f"batch is {self.batch} and {name} is {how!r}, which mixes each clip with another of its "
                    f"batch; expected a batch of at least 2, or {name}=none"
                )
        usual = {item.name: item.default for item in dataclasses.fields(TrainConfig)}
        if "mix_training" not in (self.mixing, self.finetune_mixing) and ends != usual["mix_range"]:
            raise ValueError(
                f"mix_range is {ends}, but it is of mixing=mix_training and mixing is {self.mixing!r}"
            )
        if self.finetune_steps is not None and self.finetune_epochs is not None:
            raise ValueError(
                "expected at most one of finetune_epochs and finetune_steps, "
                f"got {self.finetune_epochs} and {self.finetune_steps}"
            )
        for name in ("finetune_rate", "finetune_mixing"):
            if not self.two_steps and getattr(self, name) != usual[name]:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}, but there is no step two; "
                    "set finetune_steps or finetune_epochs, how long it is"
                )

    def _check_stagnation(self) -> None:
        """Rates that can be; and nothing set that another schedule would not use."""
        if self.schedule == "stagnation":
            if not self.lowest_rate < self.learning_rate:
                raise ValueError(
                    f"lowest_rate is {self.lowest_rate:g}; expected less than learning_rate, "
                    f"{self.learning_rate:g}, which is cut down to it"
                )
            return
        for name, usual in STAGNATION.items():
            if (value := getattr(self, name)) != usual:
                raise ValueError(
                    f"{name} is {value:g}, but it is of schedule=stagnation and schedule is {self.schedule!r}"
                )

    def _check_noise(self) -> None:
        """Backgrounds that can be; and nothing set that this training would not use."""
        if not self.noise:
            for name, usual in NOISE.items():
                if (value := getattr(self, name)) != usual:
                    raise ValueError(f"{name} is {value}, but noise has no kind; set noise, say noise=pink")
        if unknown := [name for name in self.noise if name not in NOISES]:
            raise ValueError(f"noise is {unknown[0]!r}; known: {', '.join(NOISES)}")
        if self.noise_pack and "recording" not in self.noise:
            raise ValueError(
                f"noise_pack is {self.noise_pack!r}, but noise has no 'recording'; set noise=recording"
            )
        if self.noise_splits and not self.noise_pack:
            raise ValueError(
                f"noise_splits is {', '.join(self.noise_splits)}, but noise_pack, whose they are, is not set"
            )
        try:
            _ = self.changes
        except ValueError as error:
            names = {"semitones": "pitch_semitones", "gain": "gain_decibels", "snr": "noise_snr"}
            name, _, why = str(error).partition(":")
            raise ValueError(f"{names.get(name, name)}:{why}") from None

    def _refuse_waveform_changes(self) -> None:
        none = {int: "0", float: "0", str: "none", tuple: "[]"}
        found = {
            name: value for name in WAVEFORM_CHANGES if (value := getattr(self, name)) not in (0, "none", ())
        }
        if not found:
            return
        name = next(iter(found))
        remedy = ", ".join(f"{name} to {none[type(value)]}" for name, value in found.items())
        raise ValueError(
            f"{name} is {found[name]}, which changes waveforms, but stored embeddings ({self.embeddings!r}) "
            f"are of waveforms as they were; set {remedy}, or train on the waveforms (a network of both: "
            "embeddings= and embedder=MODEL)"
        )

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        data = address_of(self.data) or str(self.data)
        return dataclasses.asdict(self) | {"data": data, "features": self.features.as_dict()}
