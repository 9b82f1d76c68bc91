"""State dicts of EfficientAT with the names and shapes of the release, and frozen, well-scaled numbers.

Written from Howard et al. 2019, table 1, and from what `models/mn/model.py`, `models/mn/block_types.py` and
`models/dymn/dy_block.py` of fschmid56/EfficientAT register, not from our networks.
"""

import zlib
from collections.abc import Iterator

import numpy as np
import torch

TABLE = """16 3 16 16 - 1
16 3 64 24 - 2
24 3 72 24 - 1
24 5 72 40 SE 2
40 5 120 40 SE 1
40 5 120 40 SE 1
40 3 240 80 - 2
80 3 200 80 - 1
80 3 184 80 - 1
80 3 184 80 - 1
80 3 480 112 SE 1
112 3 672 112 SE 1
112 5 672 160 SE 2
160 5 960 160 SE 1
160 5 960 160 SE 1"""
Shapes = dict[str, tuple[int, ...]]


def divisible(value: float) -> int:
    """By eight, and no more than a tenth below."""
    found = max(8, int(value + 4) // 8 * 8)
    return found + 8 if found < 0.9 * value else found


def rows(width: float) -> list[tuple[int, int, int, int, bool, int]]:
    found = []
    for line in TABLE.split("\n"):
        size_in, kernel, wide, out, squeeze, stride = line.split()
        channels = [divisible(int(count) * width) for count in (size_in, wide, out)]
        found.append((channels[0], int(kernel), channels[1], channels[2], squeeze == "SE", int(stride)))
    return found


def batch_norm(shapes: Shapes, name: str, size: int) -> None:
    for part in ("weight", "bias", "running_mean", "running_var"):
        shapes[f"{name}.{part}"] = (size,)
    shapes[f"{name}.num_batches_tracked"] = ()


def conv_norm(shapes: Shapes, name: str, out: int, size_in: int, kernel: int) -> None:
    shapes[f"{name}.0.weight"] = (out, size_in, kernel, kernel)
    batch_norm(shapes, f"{name}.1", out)


def linear(shapes: Shapes, name: str, out: int, size_in: int) -> None:
    shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (out, size_in), (out,)


def block(shapes: Shapes, name: str, row: tuple[int, int, int, int, bool, int], squeeze: bool) -> None:
    size_in, kernel, wide, out, _, _ = row
    place = 0
    if wide != size_in:
        conv_norm(shapes, f"{name}.block.0", wide, size_in, 1)
        place = 1
    conv_norm(shapes, f"{name}.block.{place}", wide, 1, kernel)
    if squeeze:
        place += 1
        small = divisible(wide // 4)
        linear(shapes, f"{name}.block.{place}.conc_se_layers.0.fc1", small, wide)
        linear(shapes, f"{name}.block.{place}.conc_se_layers.0.fc2", wide, small)
    conv_norm(shapes, f"{name}.block.{place + 1}", out, wide, 1)


def dynamic_block(shapes: Shapes, name: str, row: tuple[int, int, int, int, bool, int], width: float) -> None:
    size_in, kernel, wide, out, _, _ = row
    context = min(max(divisible(wide // 4), divisible(32 * width)), divisible(128 * width))

    def conv(part: str, numbers: int) -> None:
        shapes[f"{name}.{part}.weight"] = (1, 1, 4, numbers)
        linear(shapes, f"{name}.{part}.residuals.0", 4, context)

    if wide != size_in:
        conv("exp_conv", wide * size_in)
        batch_norm(shapes, f"{name}.exp_norm", wide)
    conv("depth_conv", wide * kernel * kernel)
    batch_norm(shapes, f"{name}.depth_norm", wide)
    shapes[f"{name}.depth_act.lambdas"] = shapes[f"{name}.depth_act.init_v"] = (4,)
    linear(shapes, f"{name}.depth_act.coef_net.0", 4 * wide, context)
    conv("proj_conv", out * wide)
    batch_norm(shapes, f"{name}.proj_norm", out)
    shapes[f"{name}.context_gen.joint_conv.weight"] = (context, size_in, 1, 1)
    batch_norm(shapes, f"{name}.context_gen.joint_norm", context)
    for part in ("conv_f", "conv_t"):
        shapes[f"{name}.context_gen.{part}.weight"] = (wide, context, 1, 1)
        shapes[f"{name}.context_gen.{part}.bias"] = (wide,)


def shapes_of(
    width: float, *, dynamic: str = "", classes: int = 527, convolutional: bool = False
) -> dict[str, tuple[int, ...]]:
    """By name. `dynamic` is "", "all" or "replace_se"."""
    shapes: Shapes = {}
    table = rows(width)
    last = 6 * table[-1][3]
    conv_norm(shapes, "in_c" if dynamic else "features.0", table[0][0], 1, 3)
    for number, row in enumerate(table):
        if dynamic == "all" or (dynamic and row[4]):
            dynamic_block(shapes, f"layers.{number}", row, width)
        elif dynamic:
            block(shapes, f"layers.{number}", row, squeeze=False)
        else:
            block(shapes, f"features.{number + 1}", row, squeeze=row[4])
    conv_norm(shapes, "out_c" if dynamic else "features.16", last, table[-1][3], 1)
    if convolutional:
        shapes["classifier.0.weight"] = (classes, last, 1, 1)
        batch_norm(shapes, "classifier.1", classes)
    else:
        linear(shapes, "classifier.2", divisible(1280 * width), last)
        linear(shapes, "classifier.5", classes, divisible(1280 * width))
    return shapes


def arrays_of(width: float, **options: object) -> dict[str, torch.Tensor]:
    """With numbers: He-scaled kernels, biases of batch norms that keep clips apart."""
    shapes = shapes_of(width, **options)  # type: ignore[arg-type]
    found = {}
    for name, shape in shapes.items():
        draw = np.random.RandomState(zlib.crc32(name.encode()))
        if name.endswith("num_batches_tracked"):
            found[name] = torch.tensor(12345)
            continue
        if name.endswith(("lambdas", "init_v")):
            found[name] = torch.tensor(
                [1.0, 1.0, 0.5, 0.5] if name.endswith("lambdas") else [1.0, 0.0, 0.0, 0.0]
            )
            continue
        if name.endswith("running_var"):
            values = 1.3 * draw.uniform(0.5, 1.5, shape)
        elif len(shape) == 4 and shape[:3] == (1, 1, 4):
            values = draw.standard_normal(shape) * np.sqrt(2 / fan_of(shapes, name))
        elif len(shape) > 1:
            values = draw.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        else:
            is_norm = f"{name.rpartition('.')[0]}.running_var" in shapes
            values = (1.0 if is_norm and name.endswith("bias") else 0.1) * draw.standard_normal(shape)
            values += is_norm and name.endswith("weight")
        found[name] = torch.from_numpy(np.asarray(values, np.float32))
    return found


def outputs_of(shapes: Shapes, name: str) -> int:
    """Channels after one of the dynamic convolutions, from its batch norm."""
    return shapes[name.replace("_conv.weight", "_norm.weight")][0]


def fan_of(shapes: Shapes, name: str) -> int:
    return shapes[name][3] // outputs_of(shapes, name)


def oracles_order(arrays: dict[str, torch.Tensor]) -> Iterator[torch.Tensor]:
    """As the second implementations in mobile_oracles.py take them."""
    if "in_c.0.weight" not in arrays:
        yield from (value for name, value in arrays.items() if not name.endswith("num_batches_tracked"))
        return
    shapes = {name: tuple(value.shape) for name, value in arrays.items()}

    def norm(name: str) -> list[torch.Tensor]:
        return [arrays[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]

    def conv(name: str) -> list[torch.Tensor]:
        weight = arrays[f"{name}.weight"]
        out = outputs_of(shapes, f"{name}.weight")
        each = weight.shape[3] // out
        side = round(each**0.5) if name.endswith("depth_conv") else 1
        kernels = weight.reshape(4 * out, each // side**2, side, side)
        return [kernels, arrays[f"{name}.residuals.0.weight"], arrays[f"{name}.residuals.0.bias"]]

    yield arrays["in_c.0.weight"]
    yield from norm("in_c.1")
    for number in range(15):
        name = f"layers.{number}"
        yield arrays[f"{name}.context_gen.joint_conv.weight"]
        yield from norm(f"{name}.context_gen.joint_norm")
        for part in ("conv_f.weight", "conv_f.bias", "conv_t.weight", "conv_t.bias"):
            yield arrays[f"{name}.context_gen.{part}"]
        if f"{name}.exp_conv.weight" in arrays:
            yield from [*conv(f"{name}.exp_conv"), *norm(f"{name}.exp_norm")]
        yield from [*conv(f"{name}.depth_conv"), *norm(f"{name}.depth_norm")]
        yield from (arrays[f"{name}.depth_act.coef_net.0.{part}"] for part in ("weight", "bias"))
        yield from [*conv(f"{name}.proj_conv"), *norm(f"{name}.proj_norm")]
    yield arrays["out_c.0.weight"]
    yield from norm("out_c.1")
    for place in (2, 5):
        yield from (arrays[f"classifier.{place}.{part}"] for part in ("weight", "bias"))
