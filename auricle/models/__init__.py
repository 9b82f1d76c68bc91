"""One file per published system; MODELS names them all."""

from typing import Any

from torch import nn

from auricle.models.compact import Compact
from auricle.models.size import count_multiplies, count_weights, source_of

MODELS: dict[str, type[nn.Module]] = {"compact": Compact}


def build(name: str, **arguments: object) -> nn.Module:
    """The model of that name.

    Raises:
        ValueError: no model has that name (the known ones are listed), or it does not take an argument.

    >>> build("compact", num_classes=3).num_classes
    3
    """
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; known: {', '.join(sorted(MODELS))}")
    try:
        return MODELS[name](**arguments)
    except TypeError as error:
        raise ValueError(f"model {name!r} does not take these arguments: {arguments} ({error})") from error


def describe_models(*, num_classes: int) -> list[dict[str, Any]]:
    """A row for each model: name, weights, kernel weights, multiplies for one input, that input, source.

    >>> [row["name"] for row in describe_models(num_classes=50)]
    ['compact']
    """
    rows = []
    for name in sorted(MODELS):
        net = build(name, num_classes=num_classes)
        shape = tuple(int(size) for size in net.input_shape)  # type: ignore[union-attr]
        rows.append(
            {
                "name": name,
                "weights": count_weights(net),
                "kernel_weights": count_weights(net, kernels_only=True),
                "multiplies": count_multiplies(net, shape),
                "input": f"{net.input_kind} {' x '.join(str(size) for size in shape)}",
                "source": source_of(MODELS[name]),
            }
        )
    return rows
