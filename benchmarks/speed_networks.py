"""The networks that speed_accuracy.py times: what results.csv has of each, and a model of each to time."""

import csv
import dataclasses
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from auricle.artifact import Artifact, embedding_input, load_artifact, save_artifact
from auricle.features import FeatureConfig
from auricle.frontend import LogMel
from auricle.interop.onnx import export_artifact
from auricle.interop.tflite import import_tflite
from auricle.models import MODELS, build, count_weights
from auricle.presets import efficientat, librosa_defaults, panns
from auricle.recipes import RECIPES, configure
from auricle.runners import load_runner
from auricle.runners.composed import embed_windows
from auricle.runners.fusion import embed_resampled

LABELS = 527  # of the networks as published; 50 of those trained on ESC-50
PATCH, PATCH_HOP = 15600, 15360  # samples at 16 kHz
PANNS = ("cnn14", "cnn14_decision", "cnn10", "cnn6", "resnet38", "mobilenet_v1")
STEPS = r"(?P<steps>\d+)(?: \+ \d+)? steps"
SHAPES: list[tuple[str, dict[str, Any]]] = [  # names of results.csv's rows -> what is not in them
    (rf"architectures: (?P<model>\w+)(?: longer)?, width (?P<width>[\d.]+), {STEPS}, seed \d+", {}),
    (rf"raw-waveform: log-mel, (?P<model>\w+), width (?P<width>[\d.]+), {STEPS}, seed \d+", {}),
    (
        rf"mix-training: (?P<model>raw_waveform), none, width (?P<width>[\d.]+), {STEPS}, seed \d+",
        {"depth_2d": 18, "bands": 32},
    ),
    (
        r"raw waveform: depth_2d (?P<depth_2d>\d+), width (?P<width>[\d.]+), stride (?P<stride>\d+), "
        rf"{STEPS}, seed \d+",
        {"model": "raw_waveform"},
    ),
    (
        rf"raw-waveform: yamnet, (?P<model>\w+_attention), width (?P<width>[\d.]+), {STEPS}, seed \d+",
        {"input_shape": (5, 1024)},
    ),
]
CORPORA = ("ESC-50", "ESC-50, made sounds beside")
Rank = tuple[int, int]  # a mean of models, steps or teachers: of one network the greatest counts
FILE = "YAMNet int8"  # of results.csv, and what is timed


@dataclass
class Network:
    """A network that is timed, and what is known of its accuracy."""

    name: str
    model: str
    arguments: dict[str, Any] = field(default_factory=dict)
    settings: tuple[int, FeatureConfig] | None = None  # window in samples, front end; None as published
    accuracy: float | None = None
    low: float | None = None  # lowest of folds or seeds
    high: float | None = None
    of: str = ""  # what the accuracy is of
    backend: str = ""
    weights: int = 0
    speed: dict[str, float] = field(default_factory=dict)  # threads -> times real time


def trained(results: Path) -> list[Network]:
    """The networks that results.csv has an accuracy on ESC-50 of.

    The longest training of each counts, and of a recipe a mean of models, or the one with most teachers.
    """
    with results.open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["metric"] == "accuracy"]
    found: dict[str, tuple[Rank, str, Network, list[tuple[str, float]]]] = {}
    for row in rows:
        if (named := _network(row)) is None:
            continue
        rank, recipe, network = named
        have = found.get(network.name)
        if have is None or rank > have[0]:
            found[network.name] = have = (rank, recipe, network, [])
        if (rank, recipe) == have[:2]:  # of two recipes that rank alike the first row's
            have[3].append((row["fold"], float(row["ours"])))
    return [_with_accuracy(network, figures) for *_, network, figures in found.values()]


def _network(row: Mapping[str, str]) -> tuple[Rank, str, Network] | None:
    """(rank, recipe with its settings, network) of a row; None where it is of something else."""
    recipe, data = row["recipe"], row["data"]
    if recipe == FILE and data.startswith("ESC-50"):
        return (0, 0), "", Network(FILE, "yamnet", of="47 classes, by a label map")
    if data not in CORPORA:
        return None
    bare = re.fullmatch(
        r"([\w-]+)(?:, seed=\d+)?(?:, taught by (\d+))?(?:, begun by [\w.-]+)?(?:, mean of ([\w. -]+))?",
        recipe,
    )
    if bare and bare[1] in RECIPES:
        config = configure(bare[1], data=Path("pack"))
        settings = (config.window, config.features)
        rank = (int(bare[3] is not None), int(bare[2] or 0))
        return rank, recipe, Network(bare[1], config.model, dict(config.model_arguments), settings)
    for shape, more in SHAPES:
        if match := re.fullmatch(shape, recipe):
            arguments: dict[str, Any] = {**more, **match.groupdict()}
            model, steps = arguments.pop("model"), int(arguments.pop("steps"))
            if model not in MODELS:
                return None
            arguments = {key: _number(value) for key, value in arguments.items()}
            label = f"{model}, width {arguments['width']:g}"
            if "depth_2d" in arguments and "stride" in arguments:
                label += f", stride {arguments['stride']}"
            if "input_shape" in arguments:
                label = label.replace(",", " on YAMNet,", 1)
            # Trained on 2 s at a time.
            settings = (32000, FeatureConfig()) if model == "raw_waveform" else None
            return (0, steps), "", Network(label, model, arguments, settings)
    return None


def _number(value: Any) -> Any:
    return value if not isinstance(value, str) else int(value) if value.isdigit() else float(value)


def _with_accuracy(network: Network, figures: Sequence[tuple[str, float]]) -> Network:
    """The mean where all folds are there, else over the seeds of what there is; lowest and highest."""
    folds = {fold: value for fold, value in figures if fold != "mean"}
    means = [value for fold, value in figures if fold == "mean"]
    values = [value for fold, value in figures if fold != "mean"]
    network.accuracy = means[-1] if means else float(np.mean(values))
    if len(values) > 1:
        network.low, network.high = min(values), max(values)
    said = "mean of five folds" if means else f"{', '.join(folds)}"
    if not means and len(values) > len(folds):
        said += f", mean of {len(values)} seeds"
    network.of = network.of or said
    return network


def published() -> list[Network]:
    """Every network of the package at its published size, of which results.csv has nothing at that size."""
    return [Network(name, name, _published_arguments(name)) for name in MODELS if name != "compact"]


def _published_arguments(model: str) -> dict[str, Any]:
    return {"input_shape": (10, 128)} if model.endswith("_attention") else {}


def settings_of(model: str) -> tuple[int, FeatureConfig]:
    """Window in samples and front end of a network, as its authors have it."""
    if model in PANNS:
        return 320_000, panns()
    if model in ("mn", "dymn"):
        return 320_000, efficientat()
    if model in ("urban_cnn", "urban_fusion"):
        return 441_000, librosa_defaults()
    if model == "wavegram_logmel_cnn14":
        return 320_000, dataclasses.replace(FeatureConfig(), rate=32000, high=15000.0)
    if model == "raw_waveform":
        return 160_000, FeatureConfig()
    return PATCH, FeatureConfig(log_offset=0.001) if model == "yamnet" else FeatureConfig()


def untrained(
    folder: Path,
    model: str,
    arguments: Mapping[str, Any],
    settings: tuple[int, FeatureConfig],
    classes: int,
    embedder: Artifact | None = None,
) -> Artifact:
    """A network with its first weights, and norms that know the size of what they see."""
    torch.manual_seed(0)
    given = {**arguments, "num_classes": classes}
    net = build(model, **given)
    kinds = (net.input_kind,) if isinstance(net.input_kind, str) else tuple(net.input_kind)
    (window, features), entries = settings, []
    if kinds == ("embedding",):
        assert embedder is not None
        windows = net.input_shape[0]
        window, features = embedder.window + (windows - 1) * embedder.hop, FeatureConfig()
    elif kinds[0] == "waveform":
        entries.append({"kind": "waveform", "rate": features.rate})
    else:
        entries.append({"kind": "logmel", "rate": features.rate, "features": features.as_dict()})
    heard = np.random.default_rng(1).uniform(-0.5, 0.5, (2, window)).astype(np.float32)
    x: list[Any] = [LogMel(features)(torch.from_numpy(heard))] if kinds[0] == "logmel" else []
    x += [torch.from_numpy(heard)] if kinds[0] == "waveform" else []
    if "embedding" in kinds:
        assert embedder is not None
        windows = net.input_shape[0] if kinds == ("embedding",) else net.input_shape[1][0]
        entries.append(embedding_input(embedder, windows))
        runner = load_runner(embedder)
        beside = embed_windows(runner, heard) if len(kinds) == 1 else None
        seen = embed_resampled(runner, heard, features.rate, windows) if beside is None else beside
        x.append(torch.from_numpy(seen))
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.momentum = 1.0
    inputs = tuple(x) if len(x) > 1 else x[0]
    with torch.no_grad():  # else a deep net's values grow to 10,000, and logits with them
        net.train()(inputs)
        logits = net.eval()(inputs).numpy()
    return save_artifact(
        folder,
        weights={key: tensor.contiguous().numpy() for key, tensor in net.state_dict().items()},
        architecture={"name": model, "arguments": given},
        inputs=entries,
        labels=tuple(f"label {k}" for k in range(classes)),
        window=window,
        hop=PATCH_HOP if window == PATCH else window,
        embedding_size=net.embedding_size,
        check=(heard, logits),
        tolerance=1e-2,
        embedder=None if embedder is None else embedder.path,
    )


def made(network: Network, folder: Path, yamnet: Path) -> Artifact:
    """The model that is timed, as it was kept or made now; its backend and weights are noted."""
    if network.name == FILE:
        artifact = _yamnet(folder, yamnet)
        network.backend = artifact.backend
        return artifact
    classes = LABELS if network.accuracy is None else 50
    if network.name.startswith("bundled"):
        artifact = load_artifact("default")
    else:
        artifact = _made(network, folder, yamnet, classes)
    with torch.device("meta"):
        network.weights = count_weights(build(network.model, **network.arguments, num_classes=classes))
    network.backend = artifact.backend
    return artifact


def _made(network: Network, folder: Path, yamnet: Path, classes: int) -> Artifact:
    """Untrained and exported where that can be, under the network's name."""
    plain = folder / re.sub(r"\W+", "_", f"{network.name} {classes}")
    exported = plain.with_name(f"{plain.name}_onnx")
    for kept in (exported, plain):
        if (kept / "model.json").is_file():
            return load_artifact(kept)
    embedder = None
    if network.model.endswith("_attention") or network.model == "urban_fusion":
        embedder = _vggish(folder) if network.accuracy is None else _yamnet(folder, yamnet)
    settings = network.settings or settings_of(network.model)
    artifact = untrained(plain, network.model, network.arguments, settings, classes, embedder)
    try:
        return export_artifact(plain, exported)
    except (ValueError, RuntimeError, NotImplementedError) as error:
        print(f"{network.name}: runs by torch: {str(error).splitlines()[0]}", file=sys.stderr)
        return artifact


def _yamnet(folder: Path, file: Path) -> Artifact:
    return import_tflite(file, folder / "yamnet_int8", rate=16000, embedding="layer28/reduce_mean")


def _vggish(folder: Path) -> Artifact:
    """What the published networks on embeddings hear."""
    kept = folder / "vggish_below"
    if (kept / "model.json").is_file():
        return load_artifact(kept)
    return untrained(kept, "vggish", {}, settings_of("vggish"), LABELS)


def with_bundled(networks: Sequence[Network]) -> list[Network]:
    """The same, the bundled model in the place of the recipe that it was made by, or with its own figure."""
    artifact = load_artifact("default")
    arguments = {k: v for k, v in artifact.architecture["arguments"].items() if k != "num_classes"}
    accuracy = artifact.metrics.get("accuracy, mean of five folds")
    model = artifact.architecture["name"]
    found = []
    for one in networks:
        alike = (one.model, one.arguments) == (model, arguments) and one.settings is not None
        if alike and accuracy is not None and abs((one.accuracy or 0) - accuracy) < 1e-3:
            one.name, accuracy = f"bundled model ({one.name})", None
        found.append(one)
    if accuracy is not None:
        found.append(Network("bundled model", model, arguments, accuracy=accuracy, of="its card"))
    return found
