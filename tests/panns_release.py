"""What the released files of the PANNs hold: their keys and shapes, frozen numbers, the nesting around them.

Written from the release (audioset_tagging_cnn, pytorch/models.py and utils/data_generator.py), apart from the
importer's table: layers stand in the order in which a network uses them, which is that of panns_oracles.py.
"""

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import scipy.signal
import torch

Shapes = dict[str, tuple[int, ...]]
STFT = {32000: (1024, 14000.0), 16000: (512, 8000.0), 8000: (256, 4000.0)}
CHANNELS = (64, 128, 256, 512, 1024, 2048)
CLASSES = 5


def narrowed(count: int, width: float) -> int:
    return count if width == 1 else max(8, 8 * int(count * width / 8 + 0.5))


def norm(name: str, size: int) -> Shapes:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": (size,) for part in parts} | {f"{name}.num_batches_tracked": ()}


def linear(name: str, size_in: int, size_out: int) -> Shapes:
    return {f"{name}.weight": (size_out, size_in), f"{name}.bias": (size_out,)}


def block(name: str, size_in: int, size_out: int, kernel: tuple[int, ...] = (3, 3), count: int = 2) -> Shapes:
    shapes: Shapes = {}
    for number in range(1, count + 1):
        shapes[f"{name}.conv{number}.weight"] = (size_out, size_in if number == 1 else size_out, *kernel)
        shapes |= norm(f"{name}.bn{number}", size_out)
    return shapes


def released_shapes(name: str, *, width: float = 1.0, classes: int = CLASSES) -> Shapes:
    """Keys of a network's arrays, without the front end's, in the order of use."""
    w = [narrowed(count, width) for count in CHANNELS]
    shapes = norm("bn0", 64)
    size = w[5]
    if name in ("cnn14", "cnn14_decision"):
        for number in range(6):
            shapes |= block(f"conv_block{number + 1}", w[number - 1] if number else 1, w[number])
    elif name in ("cnn10", "cnn6"):
        kernel, count = ((3, 3), 2) if name == "cnn10" else ((5, 5), 1)
        for number in range(4):
            size_in = w[number - 1] if number else 1
            shapes |= block(f"conv_block{number + 1}", size_in, w[number], kernel, count)
        size = w[3]
    elif name == "resnet38":
        shapes |= block("conv_block1", 1, w[0])
        size_in = w[0]
        for stage, blocks in enumerate((3, 4, 6, 3)):
            for number in range(blocks):
                place = f"resnet.layer{stage + 1}.{number}"
                shapes |= block(place, size_in, w[stage])
                if stage and not number:
                    shapes[f"{place}.downsample.1.weight"] = (w[stage], size_in, 1, 1)
                    shapes |= norm(f"{place}.downsample.2", w[stage])
                size_in = w[stage]
        shapes |= block("conv_block_after1", w[3], w[5])
    elif name == "mobilenet_v1":
        size = narrowed(32, width)
        shapes["features.0.0.weight"] = (size, 1, 3, 3)
        shapes |= norm("features.0.2", size)
        for number, channels in enumerate((64, 128, 128, 256, 256, *(512,) * 6, 1024, 1024), start=1):
            wide = narrowed(channels, width)
            shapes[f"features.{number}.0.weight"] = (size, 1, 3, 3)
            shapes |= norm(f"features.{number}.2", size)
            shapes[f"features.{number}.4.weight"] = (wide, size, 1, 1)
            shapes |= norm(f"features.{number}.5", wide)
            size = wide
    else:
        last = max(64, narrowed(128, width) // 32 * 32)
        shapes["pre_conv0.weight"] = (w[0], 1, 11)
        shapes |= norm("pre_bn0", w[0])
        shapes |= block("pre_block1", w[0], w[0], (3,)) | block("pre_block2", w[0], w[1], (3,))
        shapes |= block("pre_block3", w[1], last, (3,)) | block("pre_block4", last // 32, w[0])
        shapes |= block("conv_block1", 1, w[0]) | block("conv_block2", 2 * w[0], w[1])
        for number in range(2, 6):
            shapes |= block(f"conv_block{number + 1}", w[number - 1], w[number])
    return shapes | linear("fc1", size, size) | linear("fc_audioset", size, classes)


def frozen_arrays(shapes: Shapes) -> dict[str, np.ndarray]:
    """He-scaled numbers that depend on names and shapes alone; log-mels are brought to about 0 and 1."""
    arrays = {}
    for key, shape in shapes.items():
        stream = np.random.RandomState(zlib.crc32(key.encode()))
        if key.endswith("num_batches_tracked"):
            values: Any = np.array(600_000, np.int64)
        elif key == "bn0.running_mean":
            values = stream.uniform(-30, -20, shape)
        elif key == "bn0.running_var":
            values = stream.uniform(200, 400, shape)
        elif key.endswith("running_var"):
            values = stream.uniform(0.5, 1.5, shape) * (4 if "resnet" in key else 1)
        elif len(shape) > 1:
            values = stream.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        else:  # biases and means about 0, factors of batch norm about 1
            factor = key.endswith(".weight")
            values = 0.1 * stream.standard_normal(shape) + factor
        arrays[key] = np.asarray(values, np.int64 if key.endswith("tracked") else np.float32)
    return arrays


def front_end(rate: int) -> dict[str, np.ndarray]:
    """The transform's kernels and the mel bands as the release keeps them, from their definitions."""
    size, high = STFT[rate]
    window = scipy.signal.get_window("hann", size, fftbins=True)
    kernels = np.fft.fft(np.eye(size))[:, : size // 2 + 1] * window[:, None]

    def hertz(mel: float) -> float:
        return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    top = 15 + 27 * math.log(high / 1000) / math.log(6.4)
    edges = [hertz(0.75 + (top - 0.75) * i / 65) for i in range(66)]
    at = np.arange(size // 2 + 1) * rate / size
    bands = [
        np.interp(at, [lower, peak, upper], [0, 1, 0], left=0, right=0) * 2 / (upper - lower)
        for lower, peak, upper in zip(edges, edges[1:], edges[2:], strict=False)
    ]
    place = "spectrogram_extractor.stft.conv_{}.weight"
    arrays = {
        place.format("real"): kernels.real.T[:, None],
        place.format("imag"): kernels.imag.T[:, None],
        "logmel_extractor.melW": np.array(bands).T,
    }
    return {key: np.ascontiguousarray(array, np.float32) for key, array in arrays.items()}


def write_checkpoint(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    """As the authors' training loop saved it, in the file format and by NumPy's names of the time."""
    sampler = {
        "indexes_per_class": [np.arange(7), np.array([3, 1], np.int64)],
        "queue": [4, 0, 2],
        "pointers_of_classes": [np.int64(0), 3, 1],
    }
    model = {key: torch.from_numpy(np.array(array)) for key, array in arrays.items()}
    content = {"iteration": 600_000, "model": model, "sampler": sampler}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    written = path.read_bytes()
    assert b"numpy._core.multiarray" in written, "no array beside the weights"
    path.write_bytes(written.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    return path
