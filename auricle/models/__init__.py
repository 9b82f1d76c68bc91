"""One file per published system; MODELS names them all."""

from torch import nn

from auricle.models.compact import Compact

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
