"""Published TFLite taggers become artifacts like any other."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from auricle.artifact import Artifact, save_artifact
from auricle.interop.given import (
    check_waveforms,
    choose_output,
    labels_for,
    origin,
    read_labels,
    refuse_far_hop,
    refuse_missing,
    refuse_other_count,
    refuse_other_outputs,
    refuse_other_rate,
    refuse_text,
    refuse_twice,
)
from auricle.interop.published import licence_of, other_than_released
from auricle.interop.tflite_metadata import Said, carried_files, listed, read_metadata
from auricle.runners.tflite import Graph, logit

__all__ = ["check_waveforms", "import_tflite", "read_labels"]


def import_tflite(
    file: str | Path,
    out: str | Path,
    *,
    rate: int | None = None,
    labels: str | Path | Sequence[str] | None = None,
    window: int | None = None,
    hop: int | None = None,
    embedding: str = "",
    scores: bool = True,
    output: int | str = "",
    peak: float = 0.0,
    **fields: Any,
) -> Artifact:
    """Make an artifact of a TFLite file that takes one window of a waveform and gives scores or logits.

    Args:
        file: the .tflite file; it is copied as it is.
        out: the new folder.
        rate: samples a second of the waveforms it takes; None takes what the file's metadata say, and where
            they say it no other is taken.
        labels: the names in the order of the outputs, or a file of them, see `read_labels`; None takes the
            list that the file itself carries.
        window: samples it takes; None takes what the file says. To be given where the file takes any number.
        hop: samples from window to window; None is the window.
        embedding: name of the tensor within the graph that is the embedding, or the end of its name after a
            "/"; empty: the model then gives its logits as embedding.
        scores: the graph's output is scores in [0, 1], of which the logits are taken; False: it is logits.
        output: which of the graph's outputs, by its number or its name; empty: the only one with as many
            values as there are labels.
        peak: what the peak of each window is made after its mean is taken off, as some graphs expect it; 0.0
            leaves windows as they are.
        **fields: further fields of `Artifact` (name, licence, notes). The licence of a file in
            `auricle.interop.published` need not be given.

    Raises:
        ValueError: the file is no such graph, says too little of itself, the labels are not as many as its
            outputs, or its outputs are not what was declared.
        ModuleNotFoundError: ai-edge-litert is not installed.

    >>> saved = import_tflite("yamnet.tflite", "yamnet", embedding="layer28/reduce_mean")  # doctest: +SKIP
    >>> saved.embedding_size  # doctest: +SKIP
    1024

    Source: Gemmeke et al. (2017) and Plakal and Ellis (2020) for YAMNet, whose int8 file it was tried with.
    """
    path = Path(file)
    refuse_text(path)
    content = path.read_bytes()
    said = read_metadata(content)
    try:
        refuse_other_rate(said.rate, rate)
        whole = Graph(content, window=window)
        if window not in (None, whole.window):
            raise ValueError(f"takes windows of {whole.window} samples, not {window}; leave --window out")
        names, chosen = _labels_and_output(path, content, said, whole, labels, rate, output)
        refuse_other_count(whole.outputs[chosen][1], len(names))
        refuse_far_hop(hop or 0, whole.window)
        graph = Graph(content, window=window, embedding=embedding, output=chosen, peak=peak)
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
    heard = rate or said.rate
    waveforms = check_waveforms(graph.window, heard)
    outputs = np.stack([graph.run(waveform)[0] for waveform in waveforms])
    refuse_other_outputs(path, outputs, scores)
    training = origin(path)
    if differs := other_than_released(path):
        warnings.warn(differs, stacklevel=2)
    fields["licence"] = fields.get("licence") or licence_of(training["sha256"])
    described = {"name": "tflite", "scores": scores, "output": chosen, "embedding": embedding}
    return save_artifact(
        out,
        tflite=content,
        check=(waveforms, logit(outputs) if scores else outputs),
        architecture=described | ({"peak": peak} if peak else {}),
        inputs=[{"kind": "waveform", "rate": heard}],
        labels=names,
        window=graph.window,
        hop=graph.window if hop is None else hop,
        embedding_size=graph.embedding_size or graph.size,
        training=training,
        **fields,
    )


def _labels_and_output(
    path: Path,
    content: bytes,
    said: Said,
    graph: Graph,
    labels: str | Path | Sequence[str] | None,
    rate: int | None,
    output: int | str,
) -> tuple[list[str], int]:
    """The labels, and the number of the output that they are of."""
    sizes = [size for _, size in graph.outputs]
    if isinstance(output, str) and output in said.outputs:  # a name of the metadata
        output = said.outputs.index(output)
    carried = [list(names) for names in said.labels if names]
    if not carried:
        carried = [listed(text) for text in carried_files(content).values()]
    told = len(carried) == 1 or labels is not None
    refuse_missing(path, {"rate": (bool(rate or said.rate), "--rate"), "list of labels": (told, "--labels")})
    names = carried[0] if labels is None else labels_for(labels, sizes)
    refuse_twice(names, path)
    return names, choose_output(graph.outputs, output, len(names))
