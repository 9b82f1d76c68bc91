"""Runs a model's ONNX graph on the CPU, without torch."""

from typing import Any

import numpy as np
import onnxruntime

from auricle.runners.cores import usable_cores
from auricle.runners.windows import check_windows


class OnnxRunner:
    """See `auricle.runners.load_runner`.

    Its buffers are reused from batch to batch: use one runner per thread of yours.
    """

    def __init__(self, artifact: Any, *, threads: int | None = None, batch: int = 16, device: str = "cpu"):
        if device != "cpu":
            raise ValueError(
                f"device is {device!r}; an ONNX model runs on the CPU here: leave the device out"
            )
        self.artifact = artifact
        self.batch = batch
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors: warnings about devices that are not there help nobody
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.intra_op_num_threads = threads or usable_cores()
        options.inter_op_num_threads = 1
        # Threads that spin while they wait take the cores away from the decoder, and from other processes.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # With every shape known, the session plans its memory once.
        options.add_free_dimension_override_by_name("batch", batch)
        # A model on embeddings has a graph of its own input: what comes before is its embedder's.
        windows = artifact.embedder_windows
        self._input = "embeddings" if windows else "waveform"
        shape = (windows, artifact.embedding_entry["size"]) if windows else (artifact.window,)
        options.add_free_dimension_override_by_name("samples", artifact.window)
        try:
            self._session = onnxruntime.InferenceSession(
                str(artifact.state_path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has no common class for what it raises
            raise ValueError(f"{artifact.state_path}: onnxruntime cannot load it: {error}") from error
        self._check_graph()
        self._binding = self._session.io_binding()
        self._x = np.zeros((batch, *shape), np.float32)
        self._logits = np.zeros((batch, artifact.num_classes), np.float32)
        self._embeddings = np.zeros((batch, artifact.embedding_size), np.float32)
        self._bind(self._input, self._x, self._binding.bind_input)
        self._bind("logits", self._logits, self._binding.bind_output)
        self._bind("embedding", self._embeddings, self._binding.bind_output)

    def run(self, waveforms_BN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(B, window) float32 -> logits (B, K) and embeddings (B, E), float32, for any B."""
        check_windows(waveforms_BN, self.artifact.window)
        return self.run_input(waveforms_BN)

    def run_input(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the graph takes, (B, ...) float32: as `run`, of a model that takes embeddings (B, T, D)."""
        count = len(x)
        logits_BK = np.empty((count, self._logits.shape[1]), np.float32)
        embeddings_BE = np.empty((count, self._embeddings.shape[1]), np.float32)
        for start in range(0, count, self.batch):
            stop = min(start + self.batch, count)
            self._x[: stop - start] = x[start:stop]
            self._x[stop - start :] = 0
            self._session.run_with_iobinding(self._binding)
            logits_BK[start:stop] = self._logits[: stop - start]
            embeddings_BE[start:stop] = self._embeddings[: stop - start]
        return logits_BK, embeddings_BE

    def _bind(self, name: str, array: np.ndarray, bind: Any) -> None:
        bind(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)

    def _check_graph(self) -> None:
        names = ([i.name for i in self._session.get_inputs()], [o.name for o in self._session.get_outputs()])
        if names[0] != [self._input] or not {"logits", "embedding"} <= set(names[1]):
            raise ValueError(
                f"{self.artifact.state_path}: expected a graph {self._input} -> logits, embedding; "
                f"got {', '.join(names[0])} -> {', '.join(names[1])}"
            )
        expected = {"logits": self.artifact.num_classes, "embedding": self.artifact.embedding_size}
        for output in self._session.get_outputs():
            if output.name in expected and output.shape[1:] != [expected[output.name]]:
                raise ValueError(
                    f"{self.artifact.state_path}: {output.name} has shape {output.shape[1:]}, but "
                    f"model.json says {expected[output.name]} values: they do not belong together"
                )
