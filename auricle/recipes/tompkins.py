"""The training of Tompkins and Nichols, 2019: urban sounds, by a network of its own and an embedding beside.

Source: "DCASE 2019 Challenge Task 5: CNN+VGGish", technical report, 2019, and what the authors' release
(microsoft/dcase-2019) settles: log-mel by the defaults of librosa at 44.1 kHz, 862 frames of 128 bands; pitch
moved by up to 3 semitones, volume by up to 4 dB, noise with a colour; Adam at 0.01, batches of 32; positives
weighed by the tenth root of negatives to positives; the rate cut tenfold after ten epochs without a better
micro AUPRC, at either level, down to 1e-6, then from 0.01 again with cuts that are gentler by 0.1.

    auricle train --data out/urban --out out/runs/urban --recipe tompkins --set embedder=MODEL

It leaves two models: RUN/best, the best at the fine level (the report's CNN+VGGish2), and
RUN/best-micro_auprc_coarse, the best at the coarse one (CNN+VGGish1).

Not published, and set here: how loud the noise is, how often it is there, and that changes are drawn anew
each time a clip is heard (the authors wrote changed files); the maximum of epochs, without which the schedule
never ends; everything of Adam but the rate. The embedding is that of whatever model `embedder` names: the
authors' was VGGish, with `--set model_arguments.quantised=true` where its values are 0..255.

Others of the report: `--set model=urban_cnn` without the embedding; `--set model_arguments.fusion=bilinear`;
`--set class_weights=0` or 1; `--family coarse`; without changes of sound, and so with embeddings stored in
the pack, `--set pitch_semitones=0 --set gain_decibels=0 --set noise=[] --set embeddings=NAME`.
"""

from pathlib import Path

from auricle.features import librosa_defaults
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
