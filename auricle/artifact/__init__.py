"""A trained model as a folder, or as one .onnx file: the only place where its state lives.

    model.json           what it is: backend, architecture, inputs, labels, window, ... (`Artifact`'s fields)
    weights.safetensors  weights of a torch model (never a pickle)
    model.onnx           or its graph, waveform -> logits and embedding, front end inside
    model.tflite         or a published graph of one window -> scores
    check.safetensors    a short waveform and the logits it must give: `auricle check` runs it again
    README.md            a model card, made from model.json
    embedder/            of a model that takes embeddings: the whole artifact that makes them

Reading one imports neither torch nor onnxruntime: that is for the runners.
"""

from importlib import import_module
from pathlib import Path

import numpy as np

from auricle import remote
from auricle.artifact.model import CHECK_KEY, METADATA_KEY, Artifact, read_model
from auricle.artifact.onnx_file import onnx_metadata
from auricle.artifact.saving import embedding_input, encode_check, previous, save_artifact, save_changed
from auricle.remote import address_of

BUNDLED = Path(__file__).parents[1] / "bundled"
DEFAULT_MODEL = "auricle-esc50"
# What knows published models makes them of their files, so it stands above all that reads models: it is named
# here as an entry point is, and asked only for names that nothing here knows.
PUBLISHED = "auricle.interop.published"


def load_artifact(name_or_path: str | Path) -> Artifact:
    """Find and validate a model.

    Args:
        name_or_path: "default", the name of a model that comes with the package, a folder, an .onnx file that
            auricle exported, or the name of a published model (`auricle models --published`), which is
            fetched and made at its first use. A bundled name wins over a folder called the same: write ./NAME
            for that; a folder wins over a published name.

    Raises:
        ValueError: there is no such model (the message lists the bundled ones), or its description is wrong
            (the message names the file and the field).

    >>> load_artifact("nonesuch")
    Traceback (most recent call last):
    ValueError: no model nonesuch: neither a folder with a model.json nor an .onnx file nor one of ...
    """
    path = Path(name_or_path)
    if (address := address_of(name_or_path)) is not None:
        path = _copy_of_model(address)
    if isinstance(name_or_path, str):
        bundled = DEFAULT_MODEL if name_or_path == "default" else name_or_path
        if bundled in bundled_models():
            path = BUNDLED / bundled
        elif not path.exists() and is_published(name_or_path):
            path = import_module(PUBLISHED).obtain(name_or_path)
    if not path.exists() and previous(path).is_dir():
        path = previous(path)  # a writer was killed between its two renames
    single = path.is_file() and path.suffix == ".onnx"
    if not single and not (path / "model.json").is_file():
        inside = [name for name in ("best", "last") if (path / name / "model.json").is_file()]
        if inside:  # a training run
            raise ValueError(f"no model {name_or_path}: a run's models are in it, say {path / inside[0]}")
        if path.is_file() and path.suffix == ".tflite":
            raise ValueError(
                f"no model {name_or_path}: a TFLite file becomes one, auricle import tflite {path} --out DIR"
            )
        known = ", ".join(["default", *bundled_models()])
        reason = (
            f"neither a folder with a model.json nor an .onnx file nor one of {known}, nor one that "
            "auricle models --published lists"
        )
        raise ValueError(f"no model {name_or_path}: {reason}{_meant(name_or_path)}")
    return read_model(path)


def _meant(name_or_path: str | Path) -> str:
    """Names like one that is none, as the end of a message; nothing for a path."""
    name = str(name_or_path)
    if Path(name).name != name:
        return ""
    from auricle.datasets.label_maps import near_names

    near = near_names(name, ["default", *bundled_models(), *import_module(PUBLISHED).PUBLISHED])
    return f"; it may be meant for {' or '.join(near)}" if near else ""


def _copy_of_model(address: str) -> Path:
    """A model elsewhere, copied into the cache: a folder for each state that it had."""
    entry = remote.look_up(address)
    files = {remote.name_of(address): entry} if entry is not None else remote.list_files(address)
    if entry is None and "model.json" not in files:
        raise ValueError(f"no model {address}: neither a folder with a model.json nor an .onnx file")
    base = address if entry is None else remote.parent(address)
    folder = remote.copied_folder(base, "models", files)
    return folder if entry is None else folder / remote.name_of(address)


def bundled_models() -> list[str]:
    """Names of the models that come with the package.

    >>> isinstance(bundled_models(), list)
    True
    """
    return sorted(path.parent.name for path in BUNDLED.glob("*/model.json"))


def is_published(name: str) -> bool:
    """Whether a published model is called so; those that come with the package are not.

    >>> is_published("panns-cnn14"), is_published("panns/cnn14")
    (True, False)
    """
    return Path(name).name == name and name in import_module(PUBLISHED).PUBLISHED


def read_check(artifact: Artifact) -> tuple[np.ndarray, np.ndarray, float]:
    """(waveforms (B, window) float32, logits (B, K) float32, tolerance) that an artifact carries.

    >>> waveforms, logits, tolerance = read_check(load_artifact("default"))  # doctest: +SKIP
    """
    return artifact.read_check()


__all__ = [
    "BUNDLED",
    "CHECK_KEY",
    "DEFAULT_MODEL",
    "METADATA_KEY",
    "Artifact",
    "bundled_models",
    "embedding_input",
    "encode_check",
    "is_published",
    "load_artifact",
    "onnx_metadata",
    "read_check",
    "save_artifact",
    "save_changed",
]
