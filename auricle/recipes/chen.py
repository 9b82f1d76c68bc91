"""The training of Chen et al., 2019: raw waveforms, mixed in pairs, then fine-tuned on unmixed clips.

Source: "An End-to-End Audio Classification System based on Raw Waveforms and Mix-Training Strategy", sections
3.2 and 4.2 (https://arxiv.org/abs/1911.09349): 10 s at 16 kHz, batches of 256 with every
class equally often, Adam, sigmoid cross-entropy. Step one at 3e-4 on clips mixed in pairs at a ratio in (0.4,
0.6), labels the union; step two at 3e-5 on the clips as they are. One command does both:

    auricle train --data out/pack --out runs/chen --recipe chen --set steps=20000 --set finetune_steps=5000

As published: all of the above. A batch has fewer places than AudioSet has classes, so "each class with the
same frequency in a batch" is read as exactly once in every run of as many draws as there are classes.

Not published, and set here:
  - how long either step is: 80,000 and 20,000 batches, ten and two and a half times the 2 million clips
  - that a clip's partner is another of its batch, each once, by a random cycle through the batch
  - everything of Adam but the rate, which is constant within a step: torch's (0.9, 0.999, 1e-8); no weight
    decay, warm-up or clipping of the gradient
  - that step two has a fresh Adam, without the moments of step one, and goes on with its weights and its
    statistics of batch norm, which it goes on gathering, now on unmixed clips
  - first weights: by He et al. (2015) before each rectifier, biases 0, heads that begin at "absent"
    (auricle/models/raw_waveform.py); nothing pre-trained, as published
  - of mixup, its comparison, the ratio: uniform in (0, 1), which is alpha 1
  - clips shorter than 10 s: zeros at their end; where most are, set window and hop to their length
  - which weights are kept: those of the last batch, no running average, beside the best by validation mAP
  - how often and on how many clips to validate

256 clips of 10 s want a large GPU. `--set checkpoint_activations=true` takes less memory and gives the same
result; `--set accumulate=4` takes less too, but batch norm then sees a quarter of the batch, which is another
training than the published one.

The same training serves every other network: `--set model=resnet50 --set window=15600 --set hop=15360`. Its
comparisons in table 2 are `--set finetune_steps=null`, and with it `--set mixing=none` or `mixing=mixup`.
"""

from pathlib import Path

from auricle.training import TrainConfig

CLIP = 160_000  # samples of 10 s


def chen(data: Path) -> TrainConfig:
    """Mix-training of the raw-waveform network, then fine-tuning on unmixed clips."""
    return TrainConfig(
        data=data,
        name="chen",
        model="raw_waveform",
        window=CLIP,
        hop=CLIP,
        tail="drop",
        steps=80_000,
        batch=256,
        balance="classes",
        optimizer="adam",
        learning_rate=3e-4,
        weight_decay=0.0,
        warmup_steps=0,
        schedule="constant",
        clip_norm=None,
        average=0.0,
        mixing="mix_training",
        mix_range=(0.4, 0.6),
        finetune_steps=20_000,
        finetune_rate=0.1,
        finetune_mixing="none",
        log_every=100,
        validate_every=5000,
        checkpoint_every=1000,
    )
