"""Runs a model's ONNX graph on the CPU, without torch.

A graph that takes any number of windows at once is one session, with every core. A published one that is
fixed at a number, most often at one window, is a session of one thread a core, side by side.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import onnxruntime

from auricle.runners.cores import usable_cores
from auricle.runners.side_by_side import share_out
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
        self.batch = batch  # of the caller's windows
        fixed = fixed_batch(artifact)
        cores = threads or usable_cores()
        self._size = fixed or batch
        count, each = (cores, 1) if fixed else (1, cores)
        self._sessions = [_Session(artifact, self._size, each) for _ in range(count)]
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="auricle-onnx") if count > 1 else None

    def run(self, waveforms_BN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(B, window) float32 -> logits (B, K) and embeddings (B, E), float32, for any B."""
        check_windows(waveforms_BN, self.artifact.window)
        return self.run_input(waveforms_BN)

    def run_input(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the graph takes, (B, ...) float32: as `run`, of a model that takes embeddings (B, T, D)."""
        count, size = len(x), self._size
        logits_BK = np.empty((count, self.artifact.num_classes), np.float32)
        embeddings_BE = np.empty((count, self.artifact.embedding_size), np.float32)

        def work(session: _Session, number: int) -> None:
            part = slice(number * size, min((number + 1) * size, count))
            logits_BK[part], embeddings_BE[part] = session.run(x[part])

        share_out(-(-count // size), [partial(work, session) for session in self._sessions], self._pool)
        return logits_BK, embeddings_BE


def fixed_batch(artifact: Any) -> int:
    """How many windows a published graph takes at once where that is fixed, by its description; else 0.

    Raises:
        ValueError: the description says something else than a number.
    """
    said = artifact.architecture.get("batch", 0) if artifact.architecture.get("name") == "onnx" else 0
    if type(said) is not int or said < 0:
        raise ValueError(
            f"{artifact.path}/model.json: field 'architecture.batch': expected a number of windows, "
            f"got {said!r}"
        )
    return said


class _Session:
    """One session of so many windows at once, with memory of its own for what goes in and comes out."""

    def __init__(self, artifact: Any, size: int, threads: int):
        self.artifact = artifact
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what goes wrong is raised; warnings of devices not there help nobody
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Threads that spin while they wait take the cores away from the decoder, and from other processes.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # With every shape known, the session plans its memory once.
        options.add_free_dimension_override_by_name("batch", size)
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
        self._x = np.zeros((size, *shape), np.float32)
        self._logits = np.zeros((size, artifact.num_classes), np.float32)
        self._embeddings = np.zeros((size, artifact.embedding_size), np.float32)
        self._bind(self._input, self._x, self._binding.bind_input)
        self._bind("logits", self._logits, self._binding.bind_output)
        self._bind("embedding", self._embeddings, self._binding.bind_output)

    def run(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits and embeddings of up to as many windows, good until the next call."""
        count = len(x)
        self._x[:count] = x
        self._x[count:] = 0
        self._session.run_with_iobinding(self._binding)
        return self._logits[:count], self._embeddings[:count]

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
