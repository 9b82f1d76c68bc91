"""Where a network's weights begin: at random, or at another model's, as far as they fit."""

from typing import Any

import torch
from torch import nn

from auricle.artifact import load_artifact
from auricle.artifact.trainings import heard_before
from auricle.training.config import TrainConfig

BEFORE = "before"  # of what `take_weights` gives: `heard_before`, which is kept and not shown


def take_weights(net: nn.Module, config: TrainConfig) -> dict[str, Any]:
    """Copy into the net all weights of the model `config.init_from` whose name and shape are the net's.

    With `init_prefix`, a name that begins with one of its keys begins with that key's value here:
    {"": "base."} puts a whole model beneath `base.`, {"features.": "trunk."} moves a part of it. Of several
    keys that fit, the longest counts.

    Returns:
        model, name, fingerprint (of where they come from), taken, left (names there), fresh (names here);
        before, see `heard_before`.

    Raises:
        ValueError: no such model, one without weights of its own, or nothing fits.

    >>> take_weights(net, config)["taken"]  # doctest: +SKIP
    ['norm.weight', 'norm.bias']
    """
    artifact = load_artifact(config.init_from)
    if artifact.backend != "torch":
        raise ValueError(
            f"init_from {config.init_from}: it has a graph ({artifact.backend}) and no weights to start "
            "from; give the folder that training wrote, RUN/best or RUN/last"
        )
    mine = net.state_dict()
    taken, left = {}, []
    for name, array in artifact.read_weights().items():
        here = renamed(name, config.init_prefix)
        if here in mine and mine[here].ndim == 0:  # files have single numbers as arrays of one
            array = array.reshape(())
        if here in mine and tuple(mine[here].shape) == array.shape:
            taken[here] = torch.from_numpy(array)
        elif here in mine:
            left.append(f"{name} {array.shape}, here {tuple(mine[here].shape)}")
        else:
            left.append(name)
    if not any(tensor.is_floating_point() for tensor in taken.values()):
        raise ValueError(
            f"init_from {config.init_from}: no weight of equal name and shape: there {_some(left)}; here "
            f"{_some(list(mine))}; init_prefix maps how names there begin to how they begin here"
        )
    net.load_state_dict(taken, strict=False)
    source = {"model": artifact.name, "fingerprint": artifact.fingerprint, BEFORE: heard_before(artifact)}
    return source | {"taken": sorted(taken), "left": left, "fresh": sorted(set(mine) - set(taken))}


def renamed(name: str, prefixes: dict[str, str]) -> str:
    """A weight's name in the new net.

    >>> renamed("features.0.bias", {"": "base.", "features.": "trunk."}), renamed("head.bias", {})
    ('trunk.0.bias', 'head.bias')
    """
    fitting = [prefix for prefix in prefixes if name.startswith(prefix)]
    if not fitting:
        return name
    longest = max(fitting, key=len)
    return prefixes[longest] + name.removeprefix(longest)


def in_words(start: dict[str, Any]) -> str:
    """What was taken, for people.

    >>> in_words({"model": "old", "taken": ["a", "b"], "left": ["head.bias (2,), here (3,)"], "fresh": ["c"]})
    'started from old: took 2 weights; left there: head.bias (2,), here (3,); at random here: c'
    """
    return (
        f"started from {start['model']}: took {len(start['taken'])} weights; left there: "
        f"{_some(start['left'])}; at random here: {_some(start['fresh'])}"
    )


def counted(start: dict[str, Any]) -> dict[str, Any]:
    """The same with numbers of weights in place of their names.

    >>> counted({"model": "old", "fingerprint": "0a", "taken": ["a", "b"], "left": [], "fresh": ["c"]})
    {'model': 'old', 'fingerprint': '0a', 'taken': 2, 'left': 0, 'fresh': 1}
    """
    shown = {name: value for name, value in start.items() if name != BEFORE}
    return {name: len(value) if isinstance(value, list) else value for name, value in shown.items()}


def _some(names: list[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > 4 else ""
    return (", ".join(names[:4]) or "nothing") + more
