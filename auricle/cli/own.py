"""What train does with examples of somebody's own classes."""

import dataclasses
import sys
from pathlib import Path

import typer

from auricle.cli.output import print_warning
from auricle.progress import is_silent
from auricle.remote import address_of
from auricle.text import for_terminal


def train_examples(
    source: Path,
    out: Path,
    model: str,
    settings: dict[str, str],
    *,
    fine_tune: bool = False,
    calibrate: bool = False,
    resume: bool = False,
    device: str = "auto",
    threads: int | None = None,
) -> Path:
    """The folder of the model; what was found is told on standard error.

    >>> train_examples(Path("my sounds"), Path("runs/mine"), "default", {})  # doctest: +SKIP
    PosixPath('runs/mine/last')
    """
    if address_of(out) is not None:
        raise typer.BadParameter("a run of own classes is written to a disk", param_hint="--out")
    from auricle.own_classes import OwnClasses, configure, train_own

    config, rest = configure(OwnClasses(init_from=model), settings)
    config = dataclasses.replace(config, calibrate=calibrate)

    def tell(line: str) -> None:
        if not line.startswith(("out of ", "calibrated")):
            print_warning(line)
        elif not is_silent():  # the report has it, too
            print(for_terminal(line), file=sys.stderr)

    if fine_tune and calibrate:
        raise typer.BadParameter(
            "is of a classifier on embeddings; of a network, see auricle calibrate and other recordings",
            param_hint="--calibrate",
        )
    if fine_tune:
        from auricle.own_classes.fine_tuning import fine_tune_own

        return fine_tune_own(
            source, out, config, rest, tell=tell, device=device, threads=threads, resume=resume
        )
    if resume:
        raise typer.BadParameter(
            "takes seconds: give the same command without it (what is packed stays)", param_hint="--resume"
        )
    if device not in ("auto", "cpu"):
        raise typer.BadParameter(
            f"{device}: a classifier is solved on the CPU; --fine-tune uses it", param_hint="--device"
        )
    if rest:
        known = ", ".join(
            sorted(
                item.name
                for item in dataclasses.fields(OwnClasses)
                if item.name not in ("init_from", "calibrate")
            )
        )
        raise ValueError(
            f"unknown setting {next(iter(rest))!r} of a classifier on embeddings; known: {known}"
        )
    return train_own(source, out, config, threads=threads, tell=tell)
