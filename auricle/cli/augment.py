"""Verb augment: a recording as training would hear it."""

import io
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auricle.cli.options import End, Start, check_excerpt
from auricle.cli.output import print_warning
from auricle.text import for_terminal

if TYPE_CHECKING:
    import numpy as np

    from auricle.changes import Change

LONGEST = 600.0  # seconds: 3 GB at 44.1 kHz
RATIO = 20.0  # dB, where none is given


def augment(
    recording: Annotated[Path, typer.Argument(help="Any audio or video file.", metavar="RECORDING")],
    out: Annotated[Path, typer.Option(metavar="FILE.wav", help="The changed sound, as 32-bit floats.")],
    pitch: Annotated[
        float | None, typer.Option(metavar="S", help="Semitones, up where positive; its length stays.")
    ] = None,
    gain: Annotated[float | None, typer.Option(metavar="DB", help="Louder where positive.")] = None,
    noise: Annotated[
        str | None,
        typer.Option(metavar="NOISE", help="white, pink, brown, or a file; too short a file is repeated."),
    ] = None,
    snr: Annotated[
        float | None, typer.Option(metavar="DB", help="How far below the sound the noise is; 20 at first.")
    ] = None,
    at: Annotated[
        float | None,
        typer.Option(min=0.0, metavar="S", help="Second of the noise's file to begin at; else drawn."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the noise, and of what is drawn.")] = 0,
    random: Annotated[
        bool, typer.Option("--random", help="Draw what is not given, as training does: 3 semitones, 4 dB.")
    ] = False,
    rate: Annotated[
        int | None,
        typer.Option(min=1000, metavar="HZ", help="Resample to this first; else the recording's own."),
    ] = None,
    start: Start = 0.0,
    end: End = None,
) -> None:
    """Change a recording as training does: pitch, volume, noise.

    Prints a command that makes the same sound again. --random draws a pitch of up to 3 semitones, a gain of
    up to 4 dB and, for every second seed, a coloured noise 10 to 30 dB below. Nothing is clipped.
    """
    check_excerpt(start, end)
    if out.suffix.lower() != ".wav":
        raise typer.BadParameter(f"{out}: is written as .wav; end its name in .wav", param_hint="--out")
    if noise is None and not random and (snr is not None or at is not None):
        raise typer.BadParameter(
            "says how a noise is added, and there is none; add --noise",
            param_hint="--snr" if snr is not None else "--at",
        )
    if str(recording) == "-":
        raise ValueError("a recording is read from a file here, not from standard input")
    if not out.parent.is_dir():
        raise ValueError(f"{out}: the folder {out.parent} does not exist; create it or write elsewhere")
    if out.exists() and recording.exists() and out.samefile(recording):
        raise ValueError(f"{out}: is the recording itself; give another name")
    for name, value, most in (("--pitch", pitch, 12.0), ("--gain", gain, 60.0), ("--snr", snr, 120.0)):
        if value is not None and not abs(value) <= most:
            raise typer.BadParameter(f"{value:g}; expected from -{most:g} to {most:g}", param_hint=name)
    from auricle.audio import probe, read
    from auricle.changes import change_sound

    own = probe(recording).rate
    sound = read(recording, rate or own, start=start, end=end, warn=print_warning)
    if len(sound) > LONGEST * (rate or own):
        raise ValueError(
            f"{recording}: {len(sound) / (rate or own):.0f} s; {LONGEST:.0f} s are changed at once, at most: "
            "choose a part with --start and --end"
        )
    change, background = _chosen(len(sound), rate or own, pitch, gain, noise, snr, at, seed, random)
    changed = change_sound(sound, change, rate=rate or own, background=background)
    out.write_bytes(_wav(changed, rate or own))
    peak = float(abs(changed).max())
    seconds = len(sound) / (rate or own)
    print(f"{for_terminal(str(out))}: {seconds:.3f} s at {rate or own} Hz, peak {peak:.3f} of full scale")
    options = [f"--rate={rate}"] * (rate is not None) + [f"--start={start!r}"] * (start > 0)
    options += [f"--end={end!r}"] * (end is not None)
    words = ["auricle", "augment", str(recording), "--out", str(out), *options]
    words += _options(change, noise, rate or own)
    print(f"the same again: {for_terminal(shlex.join(words))}")
    if peak > 1:
        print_warning(f"{out}: goes above full scale; training hears it so, players clip it")


def _chosen(
    samples: int,
    rate: int,
    pitch: float | None,
    gain: float | None,
    noise: str | None,
    snr: float | None,
    at: float | None,
    seed: int,
    random: bool,
) -> "tuple[Change, np.ndarray | None]":
    """What is done, as numbers, and the background where it comes from a file."""
    from dataclasses import replace

    from auricle.audio import read
    from auricle.changes import Change, ChangeRanges, draw_changes, generator_of_step
    from auricle.noise import COLOURS, LOOP_FADE, stretch
    from auricle.sampling import hash_uint64

    change = Change(seed=seed, noise="", snr=RATIO)
    if random:
        colours = (noise,) if noise in COLOURS else tuple(COLOURS)
        ranges = ChangeRanges(noises=colours, noise_share=0.5 if noise is None else 1.0)
        change = draw_changes(1, generator_of_step(seed, 0), ranges, samples=samples)[0]
    given: dict[str, Any] = {
        "semitones": pitch,
        "gain": gain,
        "snr": snr,
        "noise": noise if noise in COLOURS else None,
    }
    change = replace(change, **{name: value for name, value in given.items() if value is not None})
    if noise is None or noise in COLOURS:
        if at is not None:
            raise typer.BadParameter("is for a noise from a file", param_hint="--at")
        return change, None
    if not Path(noise).exists():
        known = ", ".join(COLOURS)
        raise typer.BadParameter(f"{noise!r} is neither {known} nor a file", param_hint="--noise")
    sound = read(noise, rate, warn=print_warning)
    fade = min(round(LOOP_FADE * rate), len(sound) // 2)
    room = len(sound) - samples + 1 if len(sound) >= samples else len(sound) - fade
    place = int(hash_uint64(seed, 13)) % room if at is None else round(at * rate)
    if place >= len(sound):
        raise typer.BadParameter(f"{at:g}; the noise ends at {len(sound) / rate:g} s", param_hint="--at")
    change = replace(change, noise="recording", place=place)
    background = stretch(sound, place, samples, fade=fade)
    if not background.any():
        print_warning(f"{noise}: is silent there, so nothing is added")
    return change, background


def _options(change: "Change", noise: str | None, rate: int) -> list[str]:
    """What to give so that the same is made without anything drawn."""
    found = [f"--pitch={change.semitones!r}"] * (change.semitones != 0)
    found += [f"--gain={change.gain!r}"] * (change.gain != 0)
    if change.noise == "recording":
        found += [f"--noise={noise}", f"--snr={change.snr!r}", f"--at={change.place / rate:.7f}"]
    elif change.noise:
        found += [f"--noise={change.noise}", f"--snr={change.snr!r}", f"--seed={change.seed}"]
    return found


def _wav(sound: "np.ndarray", rate: int) -> bytes:
    from scipy.io import wavfile  # soundfile would put the time of day into the file

    content = io.BytesIO()
    wavfile.write(content, rate, sound)
    return content.getvalue()
