"""Sounds before and after each change that training makes, and their spectrograms; all computed.

python examples/draw_augmented.py docs/sounds docs/img/augmented.png
"""

import io
import sys
from pathlib import Path

import matplotlib
import numpy as np
import soundfile
import torch

matplotlib.use("Agg")
from make_scene import MAKERS, RATE
from matplotlib import pyplot
from PIL import Image

from auricle.changes import Change, apply_changes
from auricle.features import FeatureConfig, log_mel
from auricle.noise import add_noise

FEATURES = FeatureConfig(rate=RATE, window=1024, hop=256, fft=1024, bands=96, low=60.0, high=16000.0)
SECONDS = 3.0
CHANGES = {
    "before": Change(),
    "pitch_up": Change(semitones=3.0),
    "pitch_down": Change(semitones=-3.0),
    "louder": Change(gain=4.0),
    "pink_noise": Change(noise="pink", snr=10.0, seed=1),
    "rain": Change(snr=10.0),
}
TITLES = {
    "before": "bells, then a clock, then a siren: computed",
    "pitch_up": "3 semitones up",
    "pitch_down": "3 semitones down",
    "louder": "4 dB louder",
    "pink_noise": "pink noise, 10 dB below",
    "rain": "rain, 10 dB below",
}


def main(sounds: Path, picture: Path) -> None:
    """Write a sound for each change, and the picture of all."""
    generator = np.random.default_rng(3)
    parts = [MAKERS[name](1.0, generator)[:RATE] for name in ("church_bells", "clock_tick", "siren")]
    before = np.concatenate([0.3 * part / np.abs(part).max() for part in parts]).astype(np.float32)
    waveform = torch.from_numpy(before)[None]
    rain = MAKERS["rain"](SECONDS, generator)[: len(before)].astype(np.float32)
    sounds.mkdir(parents=True, exist_ok=True)
    figure, axes = pyplot.subplots(3, 2, figsize=(10, 6.6), sharex=True, sharey=True, layout="constrained")
    for axis, (name, change) in zip(axes.flat, CHANGES.items(), strict=True):
        changed = apply_changes(waveform, [change], rate=RATE)
        if name == "rain":
            changed = add_noise(changed, torch.from_numpy(rain)[None], [change.snr], rate=RATE)
        sound = changed[0].numpy()
        soundfile.write(sounds / f"{name}.ogg", sound, RATE, format="OGG", subtype="VORBIS")
        axis.imshow(
            log_mel(sound, FEATURES).T,
            origin="lower",
            aspect="auto",
            extent=(0, SECONDS, 0, FEATURES.bands),
            cmap="magma",
            vmin=-4.6,
            vmax=3,
        )
        axis.set_title(TITLES[name], loc="left", fontsize=10)
    for axis in axes[:, 0]:
        axis.set_ylabel("mel band")
    for axis in axes[-1]:
        axis.set_xlabel("seconds")
    picture.parent.mkdir(parents=True, exist_ok=True)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=72)
    Image.open(drawn).convert("RGB").quantize(64).save(picture, optimize=True)  # a third of the bytes


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
