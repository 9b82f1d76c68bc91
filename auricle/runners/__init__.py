"""Runners: the one place where a model meets waveforms.

A runner takes float32 waveforms at the artifact's rate and gives logits and embeddings. Which one serves an
artifact follows from its backend, and only that one's library is imported.
"""

from typing import Any

import numpy as np

from auricle.runners.windows import clip_scores, window_starts

BACKENDS = ("onnx", "tflite", "torch", "family")


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
        for any B, and `.artifact`. Of a family also `.members`, name -> runner.

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
    return _compose(artifact, {"threads": threads, "device": device}, batch, {})


def _compose(artifact: Any, options: dict[str, Any], batch: int, embedders: dict[str, Any]) -> Any:
    """A runner of all that a model is made of; an embedder that several parts have is loaded once."""
    if artifact.members:
        return _family(artifact, options, batch, embedders)
    runner = _load(artifact, batch=batch, **options)
    if not artifact.embedding_entry:
        return runner
    from auricle.runners.composed import ComposedRunner
    from auricle.runners.fusion import FusionRunner

    fingerprint = artifact.embedder.fingerprint
    if fingerprint != artifact.embedding_entry["fingerprint"]:
        raise ValueError(
            f"{artifact.embedder.path}: is not the embedder that the model was trained with; "
            "copy the model again"
        )
    if fingerprint not in embedders:
        embedders[fingerprint] = _compose(artifact.embedder, _possible(artifact.embedder, options), batch, {})
    kind = ComposedRunner if len(artifact.inputs) == 1 else FusionRunner
    return kind(artifact, embedders[fingerprint], runner.run_input, batch=batch)


def _family(artifact: Any, options: dict[str, Any], batch: int, embedders: dict[str, Any]) -> Any:
    from auricle.runners.family import FamilyRunner

    members = {}
    for name, model in artifact.models.items():
        if model.fingerprint != artifact.members[name]:
            raise ValueError(f"{model.path}: is not the member that the family was saved with; copy it again")
        # Few windows of a batch enter any one gate, and each of the member's batches is filled up.
        size = max(1, batch // 4) if name in artifact.gates.values() else batch
        members[name] = _compose(model, _possible(model, options), size, embedders)
    return FamilyRunner(artifact, members)


def _possible(artifact: Any, options: dict[str, Any]) -> dict[str, Any]:
    """The same options, but for the device where a part of a model knows only the CPU."""
    return options if artifact.backend in ("torch", "family") else options | {"device": "cpu"}


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
        ones that were saved (see `Artifact.changed_parts`), "failed": of a family, names of the members that
        do not pass their own check, "ok": whether all of that is as it should be}.

    >>> from auricle.artifact import load_artifact
    >>> check(load_runner(load_artifact("default")))["ok"]  # doctest: +SKIP
    True
    """
    waveforms, expected, tolerance = runner.artifact.read_check()
    logits, embeddings = runner.run(waveforms)
    given = logits if runner.artifact.labels else embeddings
    difference = float(np.max(np.abs(given - expected))) if given.shape == expected.shape else float("nan")
    changed = runner.artifact.changed_parts()
    failed = [name for name, member in getattr(runner, "members", {}).items() if not check(member)["ok"]]
    return {
        "max_difference": difference,
        "tolerance": tolerance,
        "changed": changed,
        "failed": failed,
        "ok": difference <= tolerance and not changed and not failed,
    }


__all__ = ["check", "clip_scores", "load_runner", "window_starts"]
