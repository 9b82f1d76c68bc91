"""Runners: the one place where a model meets waveforms.

A runner takes float32 waveforms at the artifact's rate and gives logits and embeddings. Which one serves an
artifact follows from its backend, and only that one's library is imported.
"""

from typing import Any

import numpy as np

from auricle.runners.windows import clip_scores, window_starts

BACKENDS = ("onnx", "tflite", "torch")


def load_runner(artifact: Any, *, threads: int | None = None, batch: int = 16, device: str = "cpu") -> Any:
    """A runner for an artifact.

    Args:
        artifact: as `auricle.artifact.load_artifact` gives it.
        threads: processor threads for one batch; None takes every core that this process may use.
        batch: windows to a batch. Every batch is filled up to this shape, so that the logits of a window
            do not depend on its neighbours; they may differ in the last bit between values of `batch`.
        device: "cpu", or what torch calls the device; ONNX and TFLite graphs run on the CPU only.

    Returns:
        An object with `.run((B, window) float32) -> ((B, K) float32 logits, (B, E) float32 embeddings)`
        for any B, and `.artifact`.

    Raises:
        ValueError: no runner for the backend, or it cannot use the device.
        ModuleNotFoundError: the backend's library is not installed; the message says what to install.

    >>> from auricle.artifact import load_artifact
    >>> runner = load_runner(load_artifact("default"), threads=1)  # doctest: +SKIP
    >>> logits, embeddings = runner.run(np.zeros((3, runner.artifact.window), np.float32))  # doctest: +SKIP
    """
    if batch < 1:
        raise ValueError(f"batch is {batch}; expected at least 1")
    if threads is not None and threads < 1:
        raise ValueError(f"threads is {threads}; expected at least 1")
    runner = _load(artifact, threads=threads, batch=batch, device=device)
    if not artifact.embedder_windows:
        return runner
    from auricle.runners.composed import ComposedRunner

    embedder = load_runner(
        artifact.embedder,
        threads=threads,
        batch=batch,
        device=device if artifact.embedder.backend == "torch" else "cpu",
    )
    return ComposedRunner(artifact, embedder, runner.run_input, batch=batch)


def _load(artifact: Any, *, threads: int | None, batch: int, device: str) -> Any:
    if artifact.backend == "onnx":
        from auricle.runners.onnx import OnnxRunner

        return OnnxRunner(artifact, threads=threads, batch=batch, device=device)
    if artifact.backend == "tflite":
        from auricle.runners.tflite import TfliteRunner

        return TfliteRunner(artifact, threads=threads, batch=batch, device=device)
    if artifact.backend == "torch":
        try:
            from auricle.runners.torch import TorchRunner
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise ModuleNotFoundError(
                f"{artifact.path}: this model needs torch, which is missing: pip install auricle[train], or"
                " export it to ONNX where torch is (auricle export MODEL model.onnx)",
                name="torch",
            ) from error
        return TorchRunner(artifact, threads=threads, batch=batch, device=device)
    raise ValueError(
        f"{artifact.path}: no runner for backend {artifact.backend!r}; there are {', '.join(BACKENDS)}"
    )


def check(runner: Any) -> dict[str, Any]:
    """Run a model's own check: the short waveform it carries must give the logits it carries.

    A model without labels carries embeddings in their place.

    Args:
        runner: as `load_runner` gives it.

    Returns:
        {"max_difference": largest absolute difference of a logit (NaN where the model gives NaN),
        "tolerance": the largest that the artifact allows, "changed": names of the parts that are not the
        ones that were saved (see `Artifact.changed_parts`), "ok": whether all of that is as it should be}.

    >>> from auricle.artifact import load_artifact
    >>> check(load_runner(load_artifact("default")))["ok"]  # doctest: +SKIP
    True
    """
    waveforms, expected, tolerance = runner.artifact.read_check()
    logits, embeddings = runner.run(waveforms)
    given = logits if runner.artifact.labels else embeddings
    difference = float(np.max(np.abs(given - expected))) if given.shape == expected.shape else float("nan")
    changed = runner.artifact.changed_parts()
    return {
        "max_difference": difference,
        "tolerance": tolerance,
        "changed": changed,
        "ok": difference <= tolerance and not changed,
    }


__all__ = ["check", "clip_scores", "load_runner", "window_starts"]
