"""Where a network trains, and in which precision."""

import torch


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" is the GPU where there is one.

    >>> pick_device("cpu").type
    'cpu'
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device is {name!r}; expected cpu, cuda, cuda:1 or auto") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {name!r}, but torch sees no CUDA device here; use --device cpu")
    return device


def set_up(device: torch.device) -> None:
    """Let cuDNN try once which of its algorithms is fastest: shapes are the same at every step.

    The precision of float32 products stays torch's: training in bfloat16 has them in the front end only,
    where fewer bits would make other features than those of a CPU.

    >>> set_up(torch.device("cpu"))
    """
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True


def pick_dtype(precision: str, device: torch.device) -> torch.dtype:
    """What the network computes in: "auto" is bfloat16 where the hardware has it.

    >>> pick_dtype("float32", torch.device("cpu"))
    torch.float32
    """
    if precision == "auto":
        if device.type == "cuda":
            fast = torch.cuda.is_bf16_supported()
        else:
            able = torch.cpu.get_capabilities()
            fast = bool(able.get("avx512_bf16") or able.get("amx_bf16"))
        precision = "bfloat16" if fast else "float32"
    return torch.bfloat16 if precision == "bfloat16" else torch.float32
