"""The training of Hershey et al., "CNN Architectures for Large-Scale Audio Classification", ICASSP 2017.

Source: section 3.1 (https://arxiv.org/abs/1609.09430): patches of 96 frames drawn from all patches of the
corpus, batches of 128, Adam, sigmoid cross-entropy, no dropout, weight decay or other regularisation; section
4.1: 5 million batches for each network, and ResNet-50 for 17 million with the rate cut tenfold after 13
million. Any of the five networks takes it:

    auricle train --data out/pack --out runs/resnet --recipe hershey \
        --set model=resnet50 --set model_arguments.bottleneck=128 --set steps=20000

As published: all of the above; no warm-up and no running average of the weights; the last weights are kept
beside the best ones. 1-best accuracy and mAP are monitored on a validation subset.

Not published, and set here:
  - the learning rate of all networks but the fully connected one (3e-5, section 3.3.1), which stands here for
    all: "coarsely optimized" for each, so sweep it
  - Adam's other settings and clipping of the gradient: torch's, and none
  - asynchronous training by 10 to 40 GPUs: synchronous here
  - how often and on how many clips to validate
"""

from pathlib import Path

from auricle.training import TrainConfig

PATCH = 15_600  # samples of 96 frames: 95 hops of 160 and a window of 400
PATCH_HOP = 15_360  # of 96 hops: a frame is in one patch only, and 10 s have 10


def hershey(data: Path) -> TrainConfig:
    """ResNet-50 for 17 million batches; `--set model=NAME` takes another, `--set steps=N` another length."""
    return TrainConfig(
        data=data,
        name="hershey",
        model="resnet50",
        window=PATCH,
        hop=PATCH_HOP,
        tail="drop",
        steps=17_000_000,
        batch=128,
        balance="patches",
        optimizer="adam",
        learning_rate=3e-5,
        weight_decay=0.0,
        warmup_steps=0,
        schedule="step",
        drop_at=13 / 17,
        clip_norm=None,
        average=0.0,
        log_every=100,
        validate_every=5000,
        checkpoint_every=1000,
    )
