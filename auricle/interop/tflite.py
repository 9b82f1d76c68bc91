"""Published TFLite taggers become artifacts like any other."""

import hashlib
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from auricle.artifact import Artifact, save_artifact
from auricle.runners.tflite import Graph, logit
from auricle.tables import header_of, read_text, read_text_table

LABEL_COLUMNS = ("display_name", "label", "name", "category")


def import_tflite(
    file: str | Path,
    out: str | Path,
    *,
    rate: int,
    labels: str | Path | Sequence[str] | None = None,
    window: int | None = None,
    hop: int | None = None,
    embedding: str = "",
    scores: bool = True,
    output: int = 0,
    **fields: Any,
) -> Artifact:
    """Make an artifact of a TFLite file that takes one window of a waveform and gives scores or logits.

    Args:
        file: the .tflite file; it is copied as it is.
        out: the new folder.
        rate: samples a second of the waveforms it takes.
        labels: the names in the order of the outputs, or a file of them, see `read_labels`; None takes the
            list that the file itself carries.
        window: samples it takes; None takes what the file says. To be given where the file takes any number.
        hop: samples from window to window; None is the window.
        embedding: name of the tensor within the graph that is the embedding, or the end of its name after a
            "/"; empty: the model then gives its logits as embedding.
        scores: the graph's output is scores in [0, 1], of which the logits are taken; False: it is logits.
        output: which of the graph's outputs, from 0.
        **fields: further fields of `Artifact` (name, licence, notes).

    Raises:
        ValueError: the file is no such graph, the labels are not as many as its outputs, or its outputs are
            not scores.
        ModuleNotFoundError: ai-edge-litert is not installed.

    >>> import_tflite("yamnet.tflite", "yamnet", rate=16000, labels="yamnet_class_map.csv",
    ...               embedding="layer28/reduce_mean").embedding_size  # doctest: +SKIP
    1024

    Source: Gemmeke et al. (2017) and Plakal and Ellis (2020) for YAMNet, whose int8 file it was tried with.
    """
    path = Path(file)
    content = path.read_bytes()
    try:
        graph = Graph(content, window=window, embedding=embedding, output=output)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if window not in (None, graph.window):
        raise ValueError(f"{path}: takes windows of {graph.window} samples, not {window}; leave --window out")
    names = _names(path, content, labels)
    if len(names) != graph.size:
        raise ValueError(f"{path}: {graph.size} outputs, but {len(names)} labels; give the list made for it")
    waveforms = check_waveforms(graph.window, rate)
    outputs = np.stack([graph.run(waveform)[0] for waveform in waveforms])
    if scores and not (outputs.min() >= 0 and outputs.max() <= 1):
        raise ValueError(
            f"{path}: gives {outputs.min():.3g} to {outputs.max():.3g}, which are no scores: declare them "
            "logits"
        )
    said = {"name": "tflite", "scores": scores, "output": output, "embedding": embedding}
    training = {"file": path.name, "sha256": hashlib.sha256(content).hexdigest()}
    return save_artifact(
        out,
        tflite=content,
        check=(waveforms, logit(outputs) if scores else outputs),
        architecture=said,
        inputs=[{"kind": "waveform", "rate": rate}],
        labels=names,
        window=graph.window,
        hop=graph.window if hop is None else hop,
        embedding_size=graph.embedding_size or graph.size,
        training=training,
        **fields,
    )


def read_labels(file: str | Path) -> list[str]:
    """Labels from a text file, one a line, or from a CSV table with a row for each output, in their order.

    In a table they are the column display_name, label, name or category, the first of these that is there;
    a column "index", if there is one, must count from 0.

    Raises:
        ValueError: no such column, or rows out of order.

    >>> read_labels("yamnet_class_map.csv")[:2]  # doctest: +SKIP
    ['Speech', 'Child speech, kid speaking']
    """
    head = header_of(Path(file))
    column = next((name for name in LABEL_COLUMNS if name in head), None)
    if column is None:
        if len(head) > 1 and Path(file).suffix.lower() == ".csv":
            raise ValueError(f"{file}: expected a column {', '.join(LABEL_COLUMNS)}; got {', '.join(head)}")
        return [line.strip() for line in read_text(Path(file)).splitlines() if line.strip()]
    labels = []
    for number, (line, row) in enumerate(read_text_table(Path(file))[1]):
        if row.get("index", str(number)) != str(number):
            raise ValueError(
                f"{file}: row {line} has index {row['index']!r}; expected {number}: rows in the order of the "
                "outputs"
            )
        labels.append(row[column])
    return labels


def check_waveforms(window: int, rate: int) -> np.ndarray:
    """(2, window) float32 for an artifact's check: noise that swells, and a tone over faint noise.

    >>> check_waveforms(8000, 16000).shape
    (2, 8000)
    """
    noise = np.random.default_rng(0).standard_normal((2, window))
    time = np.arange(window) / rate
    swelling = 0.2 * noise[0] * np.linspace(0, 1, window)
    tone = 0.5 * np.sin(2 * np.pi * 440 * time) + 0.003 * noise[1]
    return np.stack([swelling, tone]).clip(-1, 1).astype(np.float32)


def _names(path: Path, content: bytes, labels: str | Path | Sequence[str] | None) -> list[str]:
    if labels is not None:
        return read_labels(labels) if isinstance(labels, str | Path) else list(labels)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as carried:  # TFLite's metadata stand behind the graph
            lists = [name for name in carried.namelist() if name.endswith(".txt")]
            if len(lists) == 1:
                return carried.read(lists[0]).decode("utf-8").splitlines()
    except zipfile.BadZipFile:
        pass
    raise ValueError(f"{path}: carries no list of labels; give one with --labels")
