"""Arguments of a model, as YAML or JSON brought them, against the kinds that its constructor names."""

import inspect
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from types import UnionType
from typing import Any, get_args, get_origin

WORDS = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}


def check_kinds(name: str, model: type, arguments: Mapping[str, object]) -> None:
    """Refuse arguments that are not of the kind that the model's constructor names.

    >>> class Net:
    ...     def __init__(self, *, bands: int = 128, widths: Sequence[int] = ()): ...
    >>> check_kinds("net", Net, {"bands": 8.0})
    Traceback (most recent call last):
    ValueError: model 'net': bands is 8.0; expected a whole number
    >>> check_kinds("net", Net, {"widths": 8})
    Traceback (most recent call last):
    ValueError: model 'net': widths is 8; expected a list, each a whole number
    """
    taken = inspect.signature(model).parameters
    for key, value in arguments.items():
        kind = taken[key].annotation if key in taken else Any
        if not _is_of(value, kind):
            raise ValueError(f"model {name!r}: {key} is {value!r}; expected {_in_words(kind)}")


def _is_of(value: object, kind: Any) -> bool:
    """Whether a value will do for an annotation; kinds that are not known here always do."""
    if isinstance(kind, UnionType):
        return any(_is_of(value, one) for one in get_args(kind))
    if get_origin(kind) is Sequence:
        if not isinstance(value, Sequence) or isinstance(value, str):
            return False
        return all(_is_of(one, get_args(kind)[0]) for one in value)
    if kind in (int, float):
        return isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
    return isinstance(value, kind) if kind in (str, bool, type(None)) else True


def _in_words(kind: Any) -> str:
    if isinstance(kind, UnionType):
        return " or ".join(_in_words(one) for one in get_args(kind))
    if get_origin(kind) is Sequence:
        return f"a list, each {_in_words(get_args(kind)[0])}"
    return WORDS.get(kind, "nothing (null)")
