"""What models say of the trainings behind them, and behind those that they began with or learned from."""

from collections.abc import Iterable
from typing import Any

BEHIND = ("data", "config", "mixed_from", "heard")  # what is kept of a training that is not a model's last


def heard_before(artifact: Any) -> list[dict[str, Any]]:
    """What the weights of a model, and of those within it, were trained on: for models that start from them.

    >>> heard_before(load_artifact("runs/base/last"))[0]["data"]  # doctest: +SKIP
    'a8af8e6967ea45244a3b1e5460bf5cca'
    """
    kept = (*BEHIND, "within")
    own = {name: artifact.training[name] for name in kept if name in artifact.training}
    return [own, *(about for _, model in artifact.within.values() for about in heard_before(model))]


def each_once(trainings: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every training once, those within one beside it: models that taught each other have many in common.

    >>> first = {"data": "a"}
    >>> each_once([{"data": "b", "within": [first]}, {"data": "c", "within": [first, {"data": "b"}]}])
    [{'data': 'b'}, {'data': 'a'}, {'data': 'c'}]
    """
    found: list[dict[str, Any]] = []
    for about in trainings:
        alone = {name: value for name, value in about.items() if name != "within"}
        for one in (alone, *each_once(about.get("within", ()))):
            if one not in found:
                found.append(one)
    return found
