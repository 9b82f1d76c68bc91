"""YAMNet's float weights: names and shapes of the released `yamnet.h5`, and frozen, well-scaled numbers."""

from pathlib import Path

import numpy as np
import pytest

# tensorflow/models, research/audioset/yamnet, yamnet.py: filters of the separable layers 2 to 14.
FILTERS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
CLASSES = 521


def released_arrays() -> dict[str, np.ndarray]:
    """Arrays as Keras has them, by the layers' names; in the order of the layers."""
    draw = np.random.Generator(np.random.PCG64(11))
    arrays: dict[str, np.ndarray] = {}

    def layer(name: str, kernel: str, shape: tuple[int, ...], fan: int, out: int) -> None:
        arrays[f"{name}/{kernel}"] = draw.standard_normal(shape) * np.sqrt(2 / fan)
        arrays[f"{name}/bn/beta"] = 0.3 * draw.standard_normal(out)
        arrays[f"{name}/bn/moving_mean"] = 0.1 * draw.standard_normal(out)
        arrays[f"{name}/bn/moving_variance"] = draw.uniform(0.5, 1.5, out)

    layer("layer1/conv", "kernel", (3, 3, 1, 32), 9, 32)
    size = 32
    for number, filters in enumerate(FILTERS, start=2):
        layer(f"layer{number}/depthwise_conv", "depthwise_kernel", (3, 3, size, 1), 9, size)
        layer(f"layer{number}/pointwise_conv", "kernel", (1, 1, size, filters), size, filters)
        size = filters
    arrays["logits/kernel"] = 0.05 * draw.standard_normal((1024, CLASSES))
    arrays["logits/bias"] = draw.standard_normal(CLASSES) - 2
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def keras_paths(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """As they lie in the file: under the layer's name, by the variable's own."""
    return {f"{name.rpartition('/')[0]}/{name}:0": array for name, array in arrays.items()}


def write_hdf5(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File(path, "w") as file:
        for name, array in keras_paths(arrays).items():
            file[name] = array
    return path
