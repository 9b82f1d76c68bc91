"""A verb that draws what a network is given: inputs."""

from pathlib import Path
from typing import Annotated

import typer

from auricle.cli.options import End, Start, Threads, check_excerpt
from auricle.cli.output import print_warning
from auricle.cli.results import naming
from auricle.cli.timeline import PICTURES, check_names
from auricle.text import counted

SECONDS = 10.0  # of the systems for urban sounds


def inputs(
    path: Annotated[str, typer.Argument(help="A recording or film.", metavar="PATH")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="x.png (or .svg, .pdf): what is drawn.")],
    model: Annotated[
        str, typer.Option(help="What embeds: a bundled model's name, an artifact's folder, an .onnx file.")
    ] = "default",
    rate: Annotated[
        int, typer.Option(min=8000, metavar="HZ", help="Rate of the spectrogram's waveform.")
    ] = 44100,
    start: Start = 0.0,
    end: End = None,
    threads: Threads = None,
) -> None:
    """Draw a spectrogram beside embeddings, as a fusion has them.

    The spectrogram is librosa's default, in dB below its loudest value; each embedding stands where its
    window begins. Without --end, ten seconds are drawn.
    """
    check_excerpt(start, end)
    check_names(path, out, PICTURES)
    import numpy as np

    from auricle.audio import read
    from auricle.embedding import embed_recording
    from auricle.features import log_mel
    from auricle.presets import librosa_defaults
    from auricle.report.inputs import draw_inputs
    from auricle.report.style import save
    from auricle.tagging import Tagger

    def warn(text: str) -> None:
        print_warning(naming(path, text))

    stop = start + SECONDS if end is None else end
    config = librosa_defaults(rate)
    samples = read(path, rate, start=start, end=stop, warn=warn)
    tagger = Tagger(model, threads=threads)
    parts = list(embed_recording(tagger, path, start=start, end=stop))
    if not len(samples) or not parts:
        raise ValueError(f"{path}: holds no sound from {start:g} to {stop:g} s; give another --start")
    embeddings = np.concatenate([part.embeddings for part in parts])
    logmel = log_mel(samples, config)
    spans = [span for part in parts for span in zip(part.starts.tolist(), part.ends.tolist(), strict=True)]
    figure = draw_inputs(
        logmel,
        embeddings,
        spans,
        config=config,
        start=start,
        seconds=len(samples) / rate,
        title=Path(path).name,
        embedder=tagger.artifact.name,
    )
    save(figure, out)
    windows = counted(len(embeddings), "window")
    print(
        f"{out}: {len(logmel)} frames of {logmel.shape[1]} bands, {windows} of {embeddings.shape[1]} values"
    )
