"""What a shell offers for the values of options, beside those that are a choice by their type.

Nothing heavy is imported here: somebody waits, with a finger on the tabulator. Where nothing is offered, the
shell completes names of files.
"""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import typer
from typer.models import ParameterInfo

# Names in tables whose modules are heavy; a test holds them to those tables.
RECIPES = (
    "chen",
    "compact-esc50",
    "compact-esc50-equalized",
    "compact-esc50-equalized-free",
    "compact-esc50-free",
    "compact-esc50-long",
    "compact-esc50-long-free",
    "compact-esc50-robust",
    "compact-esc50-robust-free",
    "hershey",
    "tompkins",
)
NETWORKS = (
    "compact", "fully_connected", "alexnet", "vgg", "inception_v3", "resnet50", "vggish", "raw_waveform",
    "urban_cnn", "urban_fusion", "single_attention", "multi_attention", "mn", "dymn", "yamnet",
    "cnn14", "cnn14_decision", "cnn10", "cnn6", "resnet38", "mobilenet_v1", "wavegram_logmel_cnn14",
)  # fmt: skip
EXPERIMENTS = (
    "architectures", "label-set", "training-size", "embeddings", "mix-training", "raw-waveform", "urban",
)  # fmt: skip
METHODS = ("affine", "temperature", "isotonic", "keep")
PRESETS = ("hershey-fully-connected",)
COSTS = ("two-cores", "hershey-2017")
LABEL_MAPS = ("audioset-esc50",)
PUBLISHED = (
    "panns-cnn14", "panns-cnn14-16k", "panns-cnn14-8k", "panns-cnn14-decision", "panns-cnn10", "panns-cnn6",
    "panns-resnet38", "panns-mobilenetv1", "panns-wavegram-logmel-cnn14", "efficientat-mn04",
    "efficientat-mn05", "efficientat-mn10", "efficientat-mn20", "efficientat-mn30", "efficientat-mn40",
    "efficientat-mn40-ext", "efficientat-mn10-hop-5", "efficientat-mn10-hop-15", "efficientat-mn10-hop-20",
    "efficientat-mn10-hop-25", "efficientat-mn10-mels-40", "efficientat-mn10-mels-64",
    "efficientat-mn10-mels-256", "efficientat-dymn04", "efficientat-dymn10", "efficientat-dymn20", "yamnet",
    "yamnet-int8", "vggish",
)  # fmt: skip
NOISES = ("white", "pink", "brown")
PACKS, MODELS = ("pack", "data"), ("model", "init_from")  # parameters that name one
BUNDLED = Path(__file__).parents[1] / "bundled"
Complete = Callable[[typer.Context, str], list[str]]


def completed(verb: Callable[..., Any]) -> Callable[..., Any]:
    """The verb, whose options and arguments are completed: by their names, or by a metavar like keep|drop.

    >>> completed(len) is len
    True
    """
    for name, hint in getattr(verb, "__annotations__", {}).items():
        for info in getattr(hint, "__metadata__", ()):
            if isinstance(info, ParameterInfo) and info.autocompletion is None:
                values = info.metavar if info.metavar and info.metavar.islower() else ""
                known = COMPLETE.get(f"{verb.__name__} {name}", COMPLETE.get(name))
                info.autocompletion = _one_of(values.split("|")) if values else known
    return verb


def models(context: typer.Context, incomplete: str) -> list[str]:
    """Names of bundled models, and the models in this folder; a path is the shell's to complete.

    Published models are offered once a name is begun: they are many.

    >>> "auricle-esc50" in models(None, "aur") and "default" in models(None, "def")
    True
    >>> models(None, "panns-cnn1"), "yamnet" in models(None, "")
    (['panns-cnn10', 'panns-cnn14', 'panns-cnn14-16k', 'panns-cnn14-8k', 'panns-cnn14-decision'], False)
    >>> models(None, "out/ru")
    []
    """
    if "/" in incomplete or os.sep in incomplete:
        return []
    bundled = (path.name for path in _entries(BUNDLED) if _is_model(path))
    here = (path.name for path in _entries(Path()) if not path.name.startswith(".") and _is_model(path))
    others = sorted(PUBLISHED) if incomplete else []
    return _beginning(incomplete, ("default", *sorted(bundled), *sorted(here), *others))


def devices(context: typer.Context, incomplete: str) -> list[str]:
    """Where a verb may compute: auto only where that is what it begins with.

    >>> devices(None, "cu")
    ['cuda']
    """
    parameters = [] if context is None else context.command.params
    auto = any(one.name == "device" and one.default == "auto" for one in parameters)
    return _beginning(incomplete, ("auto", "cpu", "cuda") if auto else ("cpu", "cuda"))


def label_sets(context: typer.Context, incomplete: str) -> list[str]:
    """Label sets of the pack that stands on the line already."""
    return _beginning(incomplete, _manifest(context).get("label_sets", {}))


def subsets(context: typer.Context, incomplete: str) -> list[str]:
    """Subsets of the pack that stands on the line already."""
    return _beginning(incomplete, _manifest(context).get("subsets", {}))


def labels(context: typer.Context, incomplete: str) -> list[str]:
    """Labels of the model on the line, or of the one that an index was made with; none with a space in it.

    What a shell takes is not quoted.
    """
    named = _given(context, MODELS)
    named += [_json(Path(index, "index.json")).get("given", "") for index in _given(context, ("index",))]
    folders = [BUNDLED / ("auricle-esc50" if name == "default" else name) for name in named if name]
    described = (_json(folder / "model.json").get("labels") for folder in (*folders, *map(Path, named)))
    found: list[str] = next(filter(None, described), [])
    return _beginning(incomplete, (label for label in found if not set(label) & set(" '\"$`\\:,")))


def _one_of(names: Iterable[str]) -> Complete:
    known = tuple(names)

    def complete(context: typer.Context, incomplete: str) -> list[str]:
        return _beginning(incomplete, known)

    return complete


def _listed(names: Iterable[str]) -> Complete:
    """Names separated by commas: the last is completed."""
    known = tuple(names)

    def complete(context: typer.Context, incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [before + comma + name for name in _beginning(last, known) if name not in before.split(",")]

    return complete


# By the name of a parameter; where a verb means something else by it, by the verb's, too.
COMPLETE: dict[str, Complete] = {
    "model": models,
    "init_from": models,
    "device": devices,
    "label_set": label_sets,
    "label_map": _one_of(LABEL_MAPS),
    "subset": subsets,
    "within": subsets,
    "label": labels,
    "recipe": _one_of(RECIPES),
    "method": _one_of(METHODS),
    "preset": _one_of(PRESETS),
    "costs": _one_of(COSTS),
    "noise": _one_of(NOISES),
    "experiment": _one_of(EXPERIMENTS),
    "models": _listed(NETWORKS),
    "plan model": _one_of(NETWORKS),
}


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _is_model(path: Path) -> bool:
    return path.suffix == ".onnx" or (path / "model.json").is_file()


def _given(context: typer.Context, names: Iterable[str]) -> list[str]:
    """What the line has for these parameters; else its words: it is not whole, so none is told apart yet."""
    values = [str(value) for name in names if (value := context.params.get(name))]
    return values or list(context.args)


def _manifest(context: typer.Context) -> dict[str, Any]:
    return next(filter(None, (_json(Path(pack, "manifest.json")) for pack in _given(context, PACKS))), {})


def _json(path: Path) -> dict[str, Any]:
    """What a file holds; nothing of one that is not there, or is something else: no error belongs here."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
