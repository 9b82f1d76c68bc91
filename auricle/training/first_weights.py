"""A trained network's weights as they were before its first step: the seed gives them again."""

from typing import Any

import numpy as np
import torch

from auricle.models import MODELS, build


def first_weights(architecture: dict[str, Any], training: dict[str, Any]) -> dict[str, np.ndarray] | None:
    """Build the network as training began with it (`auricle.training.state.make_state`).

    Args:
        architecture: of an artifact, name and arguments.
        training: of an artifact, what its weights were made from.

    Returns:
        Name -> weight. None where these are not known: the artifact has no seed, the network is not of this
        package, or training started from another model.

    The same version of the package and of torch is taken for granted. torch's own generator is left as it is.

    >>> architecture = {"name": "compact", "arguments": {"num_classes": 2, "widths": [8], "blocks": [1]}}
    >>> one, other = (first_weights(architecture, {"config": {"seed": seed}}) for seed in (0, 1))
    >>> one.keys() == other.keys(), np.array_equal(one["head.weight"], other["head.weight"])
    (True, False)
    >>> first_weights(architecture, {}) is None
    True
    """
    seed = training.get("config", {}).get("seed")
    if seed is None or "init_from" in training or architecture.get("name") not in MODELS:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = build(architecture["name"], **architecture["arguments"])
    return {name: value.numpy() for name, value in net.state_dict().items()}
