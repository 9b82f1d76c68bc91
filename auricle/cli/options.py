"""Options that several verbs share, so that the same word means the same everywhere."""

import functools
import inspect
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from auricle.audio import RawFormat


class EngineName(StrEnum):
    """Where batch jobs run."""

    local = "local"
    ray = "ray"


Start = Annotated[float, typer.Option(min=0.0, metavar="S", help="Begin S seconds into each recording.")]
End = Annotated[float | None, typer.Option(min=0.0, metavar="S", help="Stop S seconds into each recording.")]
Raw = Annotated[
    str | None,
    typer.Option(metavar="RATE,CHANNELS,DTYPE", help="Input is PCM without a header, say 16000,1,s16le."),
]
Window = Annotated[
    float | None,
    typer.Option(metavar="S", help="The length of a window, in seconds; at first the model's own."),
]
Split = Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this split; may be given again.")]
Where = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=A,B",
        help="Only clips whose KEY is A or B, say licence=CC0,CC-BY; may be given again.",
    ),
]
Subset = Annotated[str | None, typer.Option(metavar="NAME", help="Only clips of this subset of the pack.")]
EngineOption = Annotated[
    EngineName, typer.Option("--engine", help="Where it runs: in processes here, or on Ray.")
]
Address = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="Ray's cluster, or auto; one is started here at first."),
]
Threads = Annotated[int | None, typer.Option(min=1, metavar="N", help="Threads; all cores at first.")]

# Of the verbs that mix scenes.
Scenes = Annotated[
    list[str],
    typer.Option(metavar="N|NAME=N", help="Scenes of each split, or of one; may be given again."),
]
NewPack = Annotated[Path, typer.Argument(help="The new pack's folder; one begun earlier is gone on with.")]
Seed = Annotated[int, typer.Option(min=0, metavar="N", help="Of all that is drawn.")]
LabelsOf = Annotated[str, typer.Option(metavar="NAME", help="The pack's label set to go by.")]
MixingJobs = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Processes; as many as cores at first.")
]


def _hush(asked: bool) -> bool:
    from auricle.progress import silence

    silence(asked)
    return asked


Quiet = Annotated[
    bool,
    typer.Option("--quiet", callback=_hush, help="No progress, no notes; errors and warnings stay."),
]


def quieted(verb: Callable[..., Any]) -> Callable[..., Any]:
    """The verb with --quiet, also where it has nothing to be quiet about: a script may give it to any.

    What it means is the same everywhere: `Progress` shows nothing, and `auricle.progress.say` prints nothing.

    >>> def sing(song: str) -> str:
    ...     return song
    >>> quieted(sing)("la", quiet=True)
    'la'
    """
    signature = inspect.signature(verb)
    if "quiet" in signature.parameters:
        return verb

    @functools.wraps(verb)
    def with_quiet(*arguments: Any, quiet: bool = False, **options: Any) -> Any:
        return verb(*arguments, **options)

    option = inspect.Parameter("quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Quiet)
    parameters = [*signature.parameters.values(), option]
    with_quiet.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_quiet.__annotations__ = {**verb.__annotations__, "quiet": Quiet}
    return with_quiet


def check_address(engine: EngineName, address: str | None) -> None:
    """Refuse the address of a cluster where none is used; say at once where Ray is not installed.

    >>> check_address(EngineName.local, None)
    """
    if engine is EngineName.local and address is not None:
        raise typer.BadParameter("is for --engine ray", param_hint="--address")
    if engine is EngineName.ray:
        from importlib.util import find_spec

        if find_spec("ray") is None:
            raise ModuleNotFoundError("ray is not installed", name="ray")


def check_excerpt(start: float, end: float | None) -> None:
    """Refuse an end that does not come after the start, both in seconds.

    >>> check_excerpt(1.0, 2.5)
    """
    if end is not None and end <= start:
        raise typer.BadParameter(f"{end:g} is not after --start {start:g}", param_hint="--end")


def raw_format(text: str) -> "RawFormat":
    """The value of --raw, as `auricle.audio` takes it.

    >>> raw_format("16000,1,s16le").channels
    1
    """
    from auricle.audio import RawFormat

    parts = text.split(",")
    try:
        if len(parts) != 3:
            raise ValueError(f"{len(parts)} of 3 parts")
        return RawFormat(rate=int(parts[0]), channels=int(parts[1]), dtype=parts[2].strip())
    except ValueError as error:
        rate = parts[0].strip()
        example = f"{rate if rate.isdecimal() else '16000'},1,s16le"
        problem = f"{text!r}: {error}; expected RATE,CHANNELS,DTYPE, say {example}"
        raise typer.BadParameter(problem, param_hint="--raw") from None
