"""One file per published system; MODELS names them all."""

from typing import Any

import torch
from torch import Tensor, nn

from auricle.models.alexnet import AlexNet
from auricle.models.arguments import check_kinds
from auricle.models.cnn6 import Cnn6
from auricle.models.cnn10 import Cnn10
from auricle.models.cnn14 import Cnn14
from auricle.models.cnn14_decision import Cnn14Decision
from auricle.models.compact import Compact
from auricle.models.dymn import DyMN
from auricle.models.fully_connected import FullyConnected
from auricle.models.inception_v3 import InceptionV3
from auricle.models.mn import MN
from auricle.models.mobilenet_v1 import MobileNetV1
from auricle.models.multi_attention import MultiAttention
from auricle.models.raw_waveform import RawWaveform
from auricle.models.resnet38 import ResNet38
from auricle.models.resnet50 import ResNet50
from auricle.models.single_attention import SingleAttention
from auricle.models.size import count_multiplies, count_weights, shape_in_words, source_of
from auricle.models.urban_cnn import UrbanCNN
from auricle.models.urban_fusion import UrbanFusion
from auricle.models.vgg import VGG
from auricle.models.vggish import VGGish
from auricle.models.wavegram import WavegramLogmelCnn14
from auricle.models.yamnet import YAMNet

MODELS: dict[str, type[nn.Module]] = {
    "compact": Compact,
    "fully_connected": FullyConnected,
    "alexnet": AlexNet,
    "vgg": VGG,
    "inception_v3": InceptionV3,
    "resnet50": ResNet50,
    "vggish": VGGish,
    "raw_waveform": RawWaveform,
    "urban_cnn": UrbanCNN,
    "urban_fusion": UrbanFusion,
    "single_attention": SingleAttention,
    "multi_attention": MultiAttention,
    "mn": MN,
    "dymn": DyMN,
    "yamnet": YAMNet,
    "cnn14": Cnn14,
    "cnn14_decision": Cnn14Decision,
    "cnn10": Cnn10,
    "cnn6": Cnn6,
    "resnet38": ResNet38,
    "mobilenet_v1": MobileNetV1,
    "wavegram_logmel_cnn14": WavegramLogmelCnn14,
}
VARIANTS: list[tuple[str, dict[str, Any]]] = [  # that the papers tried beside their main systems
    ("fully_connected", {"input_shape": (1, 20, 64)}),
    ("fully_connected", {"input_kind": "embedding", "input_shape": (1, 2048)}),
    ("vgg", {"first_pool": (2, 1)}),
    ("inception_v3", {"full_stem": True}),
    ("resnet50", {"bottleneck": 128}),
    ("raw_waveform", {"stride": 128}),
    ("urban_fusion", {"fusion": "bilinear"}),
    ("urban_fusion", {"input_shape": ((1, 862, 128), (10, 1024))}),
    ("vggish", {"input_shape": (1, 862, 128)}),
    ("mn", {"width": 0.4}),
    ("mn", {"width": 0.5}),
    ("mn", {"width": 2.0}),
    ("mn", {"width": 3.0}),
    ("mn", {"width": 4.0}),
    ("dymn", {"width": 0.4}),
    ("dymn", {"width": 2.0}),
]


def build(name: str, **arguments: object) -> nn.Module:
    """The model of that name.

    Raises:
        ValueError: no model has that name (the known ones are listed), or it does not take an argument, or
            not of that kind.

    >>> build("compact", num_classes=3).num_classes
    3
    """
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; known: {', '.join(sorted(MODELS))}")
    check_kinds(name, MODELS[name], arguments)
    try:
        return MODELS[name](**arguments)
    except TypeError as error:
        raise ValueError(f"model {name!r} does not take these arguments: {arguments} ({error})") from error


def logits_and_embedding(net: nn.Module, x: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Both outputs of a model, in one pass where it has a `forward_both`, or a `head` on its embedding.

    Args:
        net: any model of MODELS.
        x: a batch of its inputs; a tuple of them for a net that takes several.

    Returns:
        (B, K) logits and (B, E) embeddings.

    >>> import torch
    >>> logits, embedding = logits_and_embedding(build("compact", num_classes=3), torch.zeros(2, 1, 98, 64))
    >>> logits.shape, embedding.shape
    (torch.Size([2, 3]), torch.Size([2, 256]))
    """
    if hasattr(net, "forward_both"):
        return net.forward_both(x)  # type: ignore[operator]
    embedding = net.embed(x)  # type: ignore[operator]
    head = getattr(net, "head", None)
    return (net(x) if head is None else head(embedding)), embedding


def step_of(net: nn.Module, hop: int) -> dict[str, int]:
    """Of a net that decides for steps within what it hears, how many samples each has, for its description.

    Args:
        net: any model of MODELS.
        hop: samples from frame to frame of its log-mel.

    >>> step_of(build("cnn14_decision", num_classes=3, width=0.125), 320)
    {'step': 10240}
    >>> step_of(build("compact", num_classes=3), 160)
    {}
    """
    frames = getattr(net, "step_frames", 0)
    return {"step": frames * hop} if frames else {}


def describe_models(*, num_classes: int, variants: bool = False) -> list[dict[str, Any]]:
    """A row for each model: name, arguments, weights, kernel weights, multiplies of one input, input, source.

    The figures are counted on networks without memory (torch's device "meta"), so large ones take no longer.

    Args:
        num_classes: width of the logits.
        variants: also the rows of VARIANTS.

    >>> [row["name"] for row in describe_models(num_classes=50)][:3]
    ['compact', 'fully_connected', 'alexnet']
    """
    rows = []
    for name, arguments in [*((name, {}) for name in MODELS), *(VARIANTS if variants else [])]:
        with torch.device("meta"):
            net = build(name, num_classes=num_classes, **arguments)
        kind: Any = net.input_kind
        shape: Any = net.input_shape
        rows.append(
            {
                "name": name,
                "arguments": arguments,
                "weights": count_weights(net),
                "kernel_weights": count_weights(net, kernels_only=True),
                "multiplies": count_multiplies(net, shape),
                "input": shape_in_words(kind, shape),
                "source": source_of(MODELS[name]),
            }
        )
    return rows
