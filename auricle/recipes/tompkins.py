"""The training of Tompkins and Nichols, 2019: urban sounds, by a network of its own and an embedding beside.

Source: "DCASE 2019 Challenge Task 5: CNN+VGGish", technical report, 2019, and what the authors' release
(microsoft/dcase-2019) settles: log-mel by the defaults of librosa at 44.1 kHz, 862 frames of 128 bands; pitch
moved by up to 3 semitones, volume by up to 4 dB, noise with a colour; Adam at 0.01, batches of 32; positives
weighed by the tenth root of negatives to positives; the rate cut tenfold after ten epochs (in the release at
the eleventh) without a better micro AUPRC, at either level, down to 1e-6, then from 0.01 again with cuts that
are gentler by 0.1.

    auricle train --data out/urban --out out/runs/urban --recipe tompkins --set embedder=MODEL

It leaves two models: RUN/best, the best at the fine level (the report's CNN+VGGish2), and
RUN/best-micro_auprc_coarse, the best at the coarse one (CNN+VGGish1).

Changes of sound differ. The release writes changed files, of every combination: pitch by -3, 0 and 3
semitones; volume in steps of 1 dB, up to 4 each way while the loudest sample stays between half and full
scale; pink noise alone, its peak at 0.25 of full scale, where that is 0.2 to 0.8 of the clip's peak and the
two add up to 1 at most, so that as peaks it lies 2 to 10 dB below the clip. Ours: all drawn anew each time a
clip is heard, pitch and volume uniform in the same ranges, noise for half of the clips, white, pink or brown,
by level 10 to 30 dB below, which is much softer.

Not published, and set here: the maximum of epochs, without which the schedule never ends; everything of Adam
but the rate. The embedding is that of whatever model `embedder` names: the authors' was VGGish, with
`--set model_arguments.quantised=true` where its values are 0..255.

Others of the report: `--set model=urban_cnn` without the embedding; `--set model_arguments.fusion=bilinear`;
`--set class_weights=0` or 1; `--family coarse`; without changes of sound, and so with embeddings stored in
the pack, `--set pitch_semitones=0 --set gain_decibels=0 --set noise=[] --set embeddings=NAME`.
"""

from pathlib import Path

from auricle.presets import librosa_defaults
from auricle.training import TrainConfig

RATE = 44_100
CLIP = 10 * RATE  # samples of 10 s


def tompkins(data: Path) -> TrainConfig:
    """CNN + embedding on urban sounds, with the report's changes of sound, weights and schedule."""
    return TrainConfig(
        data=data,
        name="tompkins",
        model="urban_fusion",
        features=librosa_defaults(RATE),
        window=CLIP,
        hop=CLIP,
        tail="drop",
        embedding_windows=10,
        label_set="agreement50",
        train_splits=("train",),
        validation_splits=("validate",),
        epochs=200,
        batch=32,
        optimizer="adam",
        learning_rate=0.01,
        weight_decay=0.0,
        warmup_steps=0,
        schedule="stagnation",
        patience=10,
        cut=0.1,
        lowest_rate=1e-6,
        gentler=0.1,
        clip_norm=None,
        average=0.0,
        class_weights=0.1,
        pitch_semitones=3.0,
        gain_decibels=4.0,
        noise=("white", "pink", "brown"),
        monitors=("micro_auprc_fine", "micro_auprc_coarse"),
        validate_epochs=1.0,
        validation_clips=0,
        log_every=20,
        checkpoint_every=100,
    )
