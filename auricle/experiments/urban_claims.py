"""What Tompkins and Nichols, 2019, publish and conclude, as rows and claims of a comparison."""

from collections.abc import Mapping, Sequence
from typing import Any

from auricle.experiments.options import Claim

FIGURE_OF = {"fine": "micro_auprc_fine", "coarse": "micro_auprc_coarse"}


def _published(*figures: float | None) -> dict[str, Any]:
    names = [f"{name}_{level}" for level in FIGURE_OF for name in ("micro_auprc", "micro_f1", "macro_auprc")]
    return {name: figure for name, figure in zip(names, figures, strict=True) if figure is not None}


PAPER = {  # row -> name and figures in tables 3 and 4
    "fusion": ("CNN+VGGish1", _published(0.646, 0.483, 0.425, 0.787, 0.609, 0.579)),
    "fusion-fine": ("CNN+VGGish2", _published(0.656, 0.398, 0.401, 0.768, 0.533, 0.555)),
    "hierarchical": ("Hierarchical", _published(0.643, 0.490, 0.414, 0.787, 0.609, 0.579)),
    "baseline-fine": ("Baseline, fine-level", _published(0.671, 0.502, 0.427, 0.742, 0.507, 0.530)),
    "baseline-coarse": ("Baseline, coarse-level", _published(None, None, None, 0.762, 0.674, 0.542)),
}
ROW_ENDS = {  # row -> what its name adds to that of the network
    "fusion": "best coarse checkpoint",
    "fusion-fine": "best fine checkpoint",
    "bilinear": "bilinear fusion",
    "hierarchical": "hierarchical",
    "hierarchical-all": "hierarchical, all labels on top",
    "hierarchical-other": "hierarchical, with a label for all else",
    "coarse": "coarse outputs alone",
    "fine": "fine outputs alone",
    "weights-none": "class weights none",
    "weights-full": "class weights full",
    "agreement25": "above 25% of votes",
    "agreement50": "above 50% of votes",
    "agreement75": "above 75% of votes",
    "soft": "soft targets",
    "masked": "unknown masked",
    "augmented": "with changes of sound",
    "pitch": "with changes of pitch",
    "volume": "with changes of volume",
    "noise": "with background noise",
}


def row_names(network: str, embeddings: str) -> dict[str, str]:
    """Row -> its name in the table.

    Args:
        network: what most rows are of: "CNN+yamnet", or "CNN alone".
        embeddings: their name; "" for none.

    >>> row_names("CNN+yamnet", "yamnet")["fusion"]
    'CNN+yamnet, best coarse checkpoint'
    """
    named = {row: f"{network}, {end}" for row, end in ROW_ENDS.items()}
    alone = {"cnn": "CNN alone", "vggish": "plain VGGish architecture"}
    logistic = {f"baseline-{level}": f"logistic regression on {embeddings}, {level}" for level in FIGURE_OF}
    return named | alone | logistic


def urban_claims(names: Mapping[str, str], fused: bool) -> tuple[Claim, ...]:
    """What the text concludes; a row that is not there is told as not tested.

    The rows of one training have fine figures of its best fine checkpoint, and coarse figures of its best
    coarse one; so has what they are held against here.

    Args:
        names: as `row_names` gives them.
        fused: whether most rows are of the network with embeddings; else they are of the one without.
    """
    single = {"fine": names["fusion-fine"], "coarse": names["fusion"]}
    if not fused:
        single = dict.fromkeys(FIGURE_OF, names["cnn"])

    def beats(text: str, *others: str, levels: Sequence[str] = tuple(FIGURE_OF)) -> list[Claim]:
        return [
            Claim(
                text=f"{text} ({level} level)",
                pairs=tuple((single[level], names[other]) for other in others),
                figure=FIGURE_OF[level],
            )
            for level in levels
        ]

    claims: list[Claim] = []
    if fused:
        claims += beats("Embeddings beside the CNN beat the CNN alone", "cnn")
        claims += beats("It beats both baselines", "baseline-fine", "baseline-coarse", levels=["coarse"])
        claims.append(
            Claim(
                text="The baseline is not beaten (fine level)",
                pairs=((names["baseline-fine"], single["fine"]),),
                figure=FIGURE_OF["fine"],
            )
        )
        # Not of the paper: the baselines learn other labels than the network, and this row the same.
        claims += [
            Claim(
                text=f"With labels above 25% of votes it beats the baseline of its level ({level} level)",
                pairs=((names["agreement25"], names[f"baseline-{level}"]),),
                figure=figure,
            )
            for level, figure in FIGURE_OF.items()
        ]
    claims += beats("One model of all labels beats the hierarchical family", "hierarchical", levels=["fine"])
    claims += beats(
        "The tenth root of class weights beats none and full ones", "weights-none", "weights-full"
    )
    claims += beats(
        "More than half of the votes is the best way to choose labels", "agreement25", "agreement75", "soft"
    )
    claims += [
        Claim(
            text=f"The smaller CNN beats the VGGish architecture, trained from scratch ({level} level)",
            pairs=((names["cnn"], names["vggish"]),),
            figure=figure,
        )
        for level, figure in FIGURE_OF.items()
    ]
    claims += [
        Claim(
            text=f"Changes of sound help (a reason that the paper gives, without figures; {level} level)",
            pairs=((names["augmented"], single[level]),),
            figure=figure,
        )
        for level, figure in FIGURE_OF.items()
    ]
    return tuple(claims)
