"""Export of a TFLite model: the published graph as it is, and beside it what it does not say itself."""

import json
from pathlib import Path
from typing import Any

from auricle.artifact import load_artifact
from auricle.interop.exported import about, write_whole
from auricle.runners.onnx import fixed_batch
from auricle.runners.tflite import architecture

LABELS, ABOUT = ".labels.txt", ".json"  # after the graph's own name


def export_tflite(model: str | Path, out: str | Path) -> list[Path]:
    """Write a TFLite model's graph as one file, and beside it a list of its labels and what else is known.

    The graph is the published one, byte for byte: a calibration is not in it, but beside it.

    Args:
        model: name or folder of a model that is a TFLite graph.
        out: the file, NAME.tflite; NAME.tflite.labels.txt and NAME.tflite.json are written beside it.

    Returns:
        The three files, the graph first.

    Raises:
        ValueError: the model is no TFLite graph by itself, or the name does not end in .tflite.

    >>> export_tflite("yamnet-int8", "yamnet.tflite")[0]  # doctest: +SKIP
    PosixPath('yamnet.tflite')
    """
    out = Path(out)
    if out.suffix != ".tflite":
        raise ValueError(f"{out}: expected a name that ends in .tflite")
    if out.is_dir():
        raise ValueError(f"{out}: is a folder; name a file")
    artifact = load_artifact(model)
    if artifact.backend != "tflite":
        parts = [part for _, part in artifact.within.values()]
        within = any(part.backend == "tflite" for part in parts)
        single = within or any(fixed_batch(part) for part in parts)  # no part of an ONNX graph either
        instead = "tag with its folder as it is" if single else "export it to a name that ends in .onnx"
        stands = "stands on a TFLite graph and is none itself" if within else "is no TFLite graph"
        raise ValueError(f"{artifact.path}: {stands}, and auricle makes none; {instead}")
    graph = architecture(artifact)
    said: dict[str, Any] = {"name": artifact.name} | about(artifact)
    del said["calibrated"], said["clip_calibration"]  # of ONNX, whose graphs have the scores' map inside
    said["batch_size"] = 1
    said["calibration"] = artifact.calibration
    said["outputs"] = "scores" if graph["scores"] else "logits"
    said |= {name: graph[name] for name in ("output", "embedding", "peak")}
    said["source"] = {name: artifact.training.get(name, "") for name in ("file", "sha256")}
    contents = {
        out: artifact.state_path.read_bytes(),
        out.with_name(out.name + LABELS): "".join(f"{label}\n" for label in artifact.labels).encode(),
        out.with_name(out.name + ABOUT): f"{json.dumps(said, ensure_ascii=False, indent=1)}\n".encode(),
    }
    for path, content in reversed(contents.items()):  # the graph last: where it is, all is
        write_whole(path, content)
    return list(contents)
