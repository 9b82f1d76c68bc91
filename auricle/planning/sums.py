"""What a corpus of some size takes: disk, cores, devices, hours; each line a formula over unit costs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from auricle.planning.costs import UnitCost
from auricle.planning.sheet import Line, Sheet
from auricle.shards.writer import INDEX

CLIP_SECONDS = 276.0  # 4.6 minutes
LABELS_PER_CLIP, WINDOW, HOP, EMBEDDING = 5.0, 0.975, 0.96, 128
INDEX_BYTES = sum(np.dtype(dtype).itemsize for dtype in INDEX.values())  # of a recording
FRAME_BYTES = 248  # of Arrow around a clip's samples where a shard has 32 or more; a test measures it
TABLE_BYTES = (
    55  # of a clip's rows in clips.parquet and labels.parquet, compressed: ESC-50's; by names' lengths
)
LEAST, MOST = 1e-6, 1e15  # of anything that is asked
PUBLISHED = "assumed, as Hershey et al. 2017"


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is to be planned; None is assumed, and said to be.

    Args:
        hours: of sound.
        clips: recordings; else from `clip_seconds`.
        clip_seconds: mean length of a recording.
        labels: in the label set.
        labels_per_clip: that a recording has, in the mean.
        model: whose unit costs of training and scoring are taken; "" plans none.
        rate: of the pack, in Hz.
        window: seconds of an example; else as the unit cost was measured.
        hop: seconds from one to the next; else the same.
        examples: windows of the corpus, where they have been counted.
        batch: examples of a step.
        epochs: of training; steps: its mini-batches. One of them at most.
        source_kbps: of the compressed recordings.
        embedding_size: values of an embedding, which are kept as float16 for every example; 0 keeps none.
        cores: that pack, and tag.
        devices: that train and score.
        days: in which each part is to be done.
        scaling: share of a device's speed that is left when many work together.
        counted: where the numbers of the corpus come from, if not from the user.
    """

    hours: float
    clips: float | None = None
    clip_seconds: float | None = None
    labels: int = 527
    labels_per_clip: float | None = None
    model: str = ""
    rate: int = 16_000
    window: float | None = None
    hop: float | None = None
    examples: int | None = None
    batch: int = 128
    epochs: float | None = None
    steps: int | None = None
    source_kbps: float | None = None
    embedding_size: int | None = None
    cores: int | None = None
    devices: int | None = None
    days: float | None = None
    scaling: float | None = None
    counted: str = "given"

    def __post_init__(self) -> None:
        for name in (
            "hours", "clips", "clip_seconds", "labels", "rate", "window", "hop", "batch", "epochs", "steps",
            "source_kbps", "cores", "devices", "days", "scaling",
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not LEAST <= value <= MOST:
                raise ValueError(f"{name}: expected a number from {LEAST:g} to {MOST:g}, got {value!r}")
        for name in ("clips", "labels", "batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: expected 1 or more, got {value!r}")
        if self.scaling is not None and self.scaling > 1:
            raise ValueError(f"scaling: expected a share of at most 1, got {self.scaling!r}")
        if self.epochs is not None and self.steps is not None:
            raise ValueError("expected epochs or steps, got both")
        if self.clips is not None and self.clip_seconds is not None:
            raise ValueError("expected clips or clip_seconds, got both: one follows from the other")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An answer.

    Args:
        sheet: the lines.
        notes: what to know about them, and what could not be planned, and why.
        device: what one device is; "" where nothing is planned on one.
    """

    sheet: Sheet
    notes: list[str]
    device: str = ""

    def __getitem__(self, name: str) -> float:
        return self.sheet[name]

    def __contains__(self, name: str) -> bool:
        return name in self.sheet

    @property
    def lines(self) -> list[Line]:
        """In order."""
        return list(self.sheet.lines.values())

    def as_dict(self) -> dict[str, Any]:
        """For JSON: every line with its unit, its formula or source, and the unit costs that it rests on."""
        rows = [
            {
                "name": line.name,
                "part": line.part,
                "what": line.what,
                "value": line.value,
                "unit": line.unit,
                "formula": line.formula,
                "source": line.source,
                "unit_costs": self.sheet.costs_of(line.name),
            }
            for line in self.lines
        ]
        return {"device": self.device, "lines": rows, "notes": self.notes}


def make_plan(question: Question, costs: Mapping[str, UnitCost]) -> Plan:
    """Disk, cores, devices and time for a corpus, from unit costs.

    Args:
        question: the corpus and what is to be done with it.
        costs: by name, as `read_costs` gives them. What they do not have is left out, and named.

    >>> from auricle.planning.costs import read_costs
    >>> question = Question(hours=5.24e6, clips=70e6, model="resnet50", devices=20)
    >>> weeks = make_plan(question, read_costs("hershey-2017"))["train_seconds"] / (7 * 86400)
    >>> round(weeks)
    23

    Source: Hershey et al. 2017, section 4.3, whose sums these are.
    """
    sheet, notes = Sheet(), list[str]()
    train, score, tag = (_cost(costs, kind, question.model) for kind in ("train", "score", "tag"))
    measured = train or score
    _corpus(sheet, question, measured)
    _storage(sheet, question)
    if pack := costs.get("pack"):
        _take_cost(sheet, "pack_speed", pack, "packed: decoded, resampled, written")
    if measured or pack or tag:
        _machines(sheet, question, costs, train, score)
    _packing(sheet, question, notes, pack)
    if question.model:
        _training(sheet, question, notes, train)
        _scoring(sheet, question, notes, train, score)
        _tagging(sheet, question, notes, tag, score or train)
    else:
        notes.append("training, scoring and tagging are not planned: no model was named")
    return Plan(sheet=sheet, notes=notes, device=measured.device if measured else "")


def _cost(costs: Mapping[str, UnitCost], kind: str, model: str) -> UnitCost | None:
    return costs.get(f"{kind}.{model}")


def _take_cost(sheet: Sheet, name: str, cost: UnitCost, what: str) -> None:
    source = f"{cost.name} of {cost.source}; {cost.how}"
    sheet.take(name, "unit costs", what, cost.value, cost.unit, source)


def _corpus(sheet: Sheet, question: Question, measured: UnitCost | None) -> None:
    counted = question.counted
    sheet.take("hours", "given", "sound", question.hours, "h", counted)
    if question.clips is not None:
        sheet.take("clips", "given", "recordings", question.clips, "", counted)
        sheet.reckon("clip_seconds", "given", "mean length", "hours * 3600 / clips", "s")
    else:
        source = "given" if question.clip_seconds else f"{PUBLISHED}, section 2: 4.6 minutes"
        sheet.take("clip_seconds", "given", "mean length", question.clip_seconds or CLIP_SECONDS, "s", source)
        sheet.reckon("clips", "given", "recordings", "ceil(hours * 3600 / clip_seconds)", "")
    sheet.take("labels", "given", "labels", question.labels, "", counted)
    _take_or(
        sheet, "labels_per_clip", "labels of a recording", question.labels_per_clip, LABELS_PER_CLIP, "",
        f"{PUBLISHED}, section 2", counted,
    )  # fmt: skip
    sheet.take("rate", "given", "of the pack", question.rate, "Hz", "given")
    facts = measured.facts if measured else {}
    for name, what, given, usual in (
        ("window", "an example", question.window, WINDOW),
        ("hop", "from one to the next", question.hop, HOP),
    ):
        origin = f"as {measured.name} was measured" if measured else f"{PUBLISHED}, section 3.1"
        _take_or(sheet, name, what, given, facts.get(name, usual), "s", origin)
    if question.examples is not None:
        sheet.take("examples", "given", "windows in the corpus", question.examples, "", counted)
    else:
        what = "windows in the corpus, up to one more or fewer a recording"
        sheet.reckon("examples", "given", what, "max(hours * 3600 / hop, clips)", "")
    sheet.reckon(
        "address_bits", "given", "to number them; 64 are used", "ceil(log(examples) / log(2))", "bits"
    )


def _take_or(
    sheet: Sheet,
    name: str,
    what: str,
    given: float | None,
    usual: float,
    unit: str,
    origin: str,
    counted: str = "given",
) -> None:
    value, source = (usual, origin) if given is None else (given, counted)
    sheet.take(name, "given", what, value, unit, source)


def _storage(sheet: Sheet, question: Question) -> None:
    _take_or(sheet, "source_kbps", "compressed recordings", question.source_kbps, 128.0, "kbit/s", "assumed")
    _take_or(
        sheet, "embedding_size", "values of an embedding", question.embedding_size, EMBEDDING, "",
        "assumed, as VGGish's",
    )  # fmt: skip
    layout = "layout of a pack, auricle/shards"
    sheet.take("frame", "given", "Arrow around a recording", FRAME_BYTES, "bytes", layout)
    sheet.take(
        "row",
        "given",
        "a recording in *.parquet",
        TABLE_BYTES,
        "bytes",
        "about: ESC-50's, by the length of names",
    )
    sheet.take("entry", "given", "a recording in index/*.npy", INDEX_BYTES, "bytes", layout)
    for name, what, formula in (
        ("source_bytes", "compressed recordings", "hours * 3600 * source_kbps * 1000 / 8"),
        ("sound_bytes", "shards: 16 bits a sample", "hours * 3600 * rate * 2 + clips * frame"),
        ("table_bytes", "tables of recordings and labels", "clips * row"),
        ("index_bytes", "index, with a count for every 64 recordings", "clips * (entry + 8 / 64)"),
        (
            "label_bytes",
            "index of a label set: 16 a recording, 12 a label of one",
            "clips * (16 + labels_per_clip * 12) + labels * 8",
        ),
        (
            "embedding_bytes",
            "embeddings: 16 bits a value",
            "examples * embedding_size * 2 + min(embedding_size, 1) * clips * 8",
        ),
        (
            "pack_bytes",
            "pack with all of these but the source",
            "sound_bytes + table_bytes + index_bytes + label_bytes + embedding_bytes",
        ),
    ):
        sheet.reckon(name, "storage", what, formula, "bytes")


def _machines(
    sheet: Sheet,
    question: Question,
    costs: Mapping[str, UnitCost],
    train: UnitCost | None,
    score: UnitCost | None,
) -> None:
    pack = costs.get("pack")
    usual = pack.facts.get("cores", 1) if pack else 1
    measured_on = f"as pack was measured: {pack.source}" if pack else "assumed"
    _take_or(sheet, "cores", "that pack and tag", question.cores, usual, "cores", measured_on)
    measured = train or score
    if measured:
        together = measured.facts.get("together", 1)
        _take_or(
            sheet, "devices", f"that train and score: {measured.device}", question.devices, together, "",
            f"as {measured.name} was measured",
        )  # fmt: skip
        shipped = costs.get("scaling")
        if question.scaling is None and shipped:
            _take_cost(sheet, "scaling", shipped, "speed of each that is left when many work together")
        else:
            what = "speed of each that is left when many work together"
            origin = "assumed, not measured: --scaling says otherwise"
            _take_or(sheet, "scaling", what, question.scaling, 1.0, "share", origin)
    if question.days is not None:
        sheet.take("days", "given", "in which each part is to be done", question.days, "days", "given")


def _packing(sheet: Sheet, question: Question, notes: list[str], pack: UnitCost | None) -> None:
    if pack is None:
        notes.append("packing is not planned: there is no unit cost pack; --measure FILE measures it")
        return
    part = "packing"
    sheet.reckon("pack_core_seconds", part, "on one core", "hours * 3600 / pack_speed", "s")
    sheet.reckon("pack_seconds", part, "on the cores", "pack_core_seconds / cores", "s")
    write = "(sound_bytes + table_bytes + index_bytes) / pack_seconds"
    sheet.reckon("pack_write", part, "that the disks have to take", write, "bytes/s")
    _needed(sheet, question, part, "pack_cores_needed", "pack_core_seconds", "cores")


def _needed(sheet: Sheet, question: Question, part: str, name: str, seconds: str, unit: str) -> None:
    if question.days is not None:
        what = f"{unit} to be done in the days"
        sheet.reckon(name, part, what, f"ceil({seconds} / (days * 86400))", unit)


def _speed(sheet: Sheet, kind: str, cost: UnitCost, what: str) -> None:
    """Examples a second of one device: as measured, or scaled to windows of another length."""
    if sheet["window"] == cost.facts["window"]:
        _take_cost(sheet, f"{kind}_speed", cost, what)
        return
    _take_cost(sheet, f"{kind}_measured", cost, f"{what}, of {cost.facts['window']:g} s")
    sheet.take(
        f"{kind}_window", "unit costs", "an example then", cost.facts["window"], "s", f"{cost.name} says so"
    )
    what = f"{what}; as the length of a window"
    sheet.reckon(
        f"{kind}_speed", "unit costs", what, f"{kind}_measured * {kind}_window / window", "examples / s"
    )


def _training(sheet: Sheet, question: Question, notes: list[str], train: UnitCost | None) -> None:
    part = "training"
    if train is None:
        notes.append(_missing(part, "train", question.model))
        return
    _speed(sheet, "train", train, f"trained on one {train.device}")
    sheet.take("batch", "given", "examples of a step", question.batch, "", "given")
    if question.steps is not None:
        sheet.take("steps", "given", "mini-batches", question.steps, "", "given")
        sheet.reckon("train_examples", part, "examples", "steps * batch", "")
    else:
        _take_or(sheet, "epochs", "times that every example is met", question.epochs, 1.0, "", "assumed")
        sheet.reckon("train_examples", part, "examples", "examples * epochs", "")
        sheet.reckon("steps", part, "mini-batches", "ceil(train_examples / batch)", "")
    sheet.reckon(
        "train_rate", part, "all devices together", "train_speed * devices * scaling", "examples / s"
    )
    sheet.reckon("step_rate", part, "the same", "train_rate / batch", "mini-batches / s")
    sheet.reckon("train_seconds", part, "training", "train_examples / train_rate", "s")
    sheet.reckon("device_seconds", part, "the same, of all devices", "train_seconds * devices", "s")
    sheet.reckon(
        "train_read", part, "that the disks have to give", "train_rate * window * rate * 2", "bytes/s"
    )
    once = "as many examples as there are recordings"
    sheet.reckon("once_seconds", part, once, "clips / train_rate", "s")
    sheet.reckon(
        "once_met", part, "recordings that are met by then, drawn at random", "clips * (1 - 1 / exp(1))", ""
    )
    every = "until every recording is met, drawn at random"
    sheet.reckon("every_seconds", part, every, "clips * (log(clips) + 0.5772) / train_rate", "s")
    seconds = "train_examples / (train_speed * scaling)"
    _needed(sheet, question, part, "train_devices_needed", seconds, "devices")
    if (labels := train.facts.get("labels")) is not None and labels != question.labels:
        notes.append(
            f"{train.name} was measured with {labels:,.0f} labels: the last layer of {question.labels:,} is "
            "not in it"
        )


def _scoring(
    sheet: Sheet, question: Question, notes: list[str], train: UnitCost | None, score: UnitCost | None
) -> None:
    part = "scoring"
    if score is not None:
        _speed(sheet, "score", score, f"scored on one {score.device}, from a pack")
    elif train is not None:
        what = "scored; not measured: a forward pass as half a step"
        sheet.reckon("score_speed", "unit costs", what, "2 * train_speed", "examples / s")
        notes.append(
            f"there is no unit cost score.{question.model}: twice the rate of training stands for it"
        )
    else:
        notes.append(_missing(part, "score", question.model))
        return
    formula = "examples / (score_speed * devices * scaling)"
    sheet.reckon("score_seconds", part, "every example once; embeddings take as long", formula, "s")
    _needed(sheet, question, part, "score_devices_needed", "examples / (score_speed * scaling)", "devices")


def _tagging(
    sheet: Sheet, question: Question, notes: list[str], tag: UnitCost | None, scored: UnitCost | None
) -> None:
    part = "tagging"
    if tag is not None:
        _take_cost(sheet, "tag_speed", tag, "tagged, from the file to its scores")
        sheet.reckon("tag_core_seconds", part, "on one core", "hours * 3600 / tag_speed", "s")
        sheet.reckon("tag_seconds", part, "on the cores", "tag_core_seconds / cores", "s")
        _needed(sheet, question, part, "tag_cores_needed", "tag_core_seconds", "cores")
        return
    if "pack_speed" not in sheet or "score_speed" not in sheet or scored is None:
        notes.append(_missing(part, "tag", question.model))
        return
    notes.append("tagging is reckoned from packing, which decodes and also writes, and scoring")
    decode, score = "hours * 3600 / pack_speed", "examples / (score_speed * scaling)"
    if device_cores := scored.facts.get("cores"):
        source = f"{scored.name} says so"
        sheet.take("device_cores", "unit costs", f"of a {scored.device}", device_cores, "cores", source)
        sheet.reckon("tag_core_seconds", part, "on one core", f"{decode} + {score} * device_cores", "s")
        sheet.reckon("tag_seconds", part, "on the cores", "tag_core_seconds / cores", "s")
        _needed(sheet, question, part, "tag_cores_needed", "tag_core_seconds", "cores")
        return
    what = "the slower of decoding on the cores and scoring on the devices"
    sheet.reckon("tag_seconds", part, what, f"max({decode} / cores, {score} / devices)", "s")
    _needed(sheet, question, part, "tag_cores_needed", decode, "cores")
    _needed(sheet, question, part, "tag_devices_needed", score, "devices")


def _missing(part: str, kind: str, model: str) -> str:
    return (
        f"{part} is not planned: there is no unit cost {kind}.{model}; --measure FILE measures it on this "
        "machine, --costs reads another's"
    )
