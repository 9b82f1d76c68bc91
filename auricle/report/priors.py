"""d' of each class against how frequent it is: does a classifier do worse on rare classes?

Source: Hershey et al., "CNN Architectures for Large-Scale Audio Classification", ICASSP 2017,
https://arxiv.org/abs/1609.09430, Fig. 1 and section 4.1: over five orders of magnitude d' stays centred while
its variance grows for rarer classes. The running mean and the figures by decade are not from there.
"""

import math
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from auricle.report.classes import PerClass
from auricle.report.page import page, text
from auricle.report.spread import by_sampling, few_clips, spread_words
from auricle.report.style import COLOURS, GREY, drawing

BANDWIDTH = 0.25  # decades: standard deviation of the weights of the running mean
LEAST = 4.0  # classes, by weight, from which on a spread is drawn
GRID = 121
CAPTION, TITLE = 126, 80  # letters of a line under the figure, and over it
# Of viridis: the ends that white and black paper swallow are left out.
LIGHT = (0.0, 0.9)


def random_share(count: int, share: float, seed: int = 0) -> np.ndarray:
    """Positions of a random share of the classes, rising: the paper draws 20% of its 30,871.

    Raises:
        ValueError: the share is not above 0 and at most 1.

    >>> len(random_share(30871, 0.2))
    6174
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share:g}; expected more than 0 and at most 1")
    kept = np.random.default_rng(seed).permutation(count)[: max(1, round(share * count))]
    return np.sort(kept)


def by_decade(
    prior: np.ndarray, d_prime: np.ndarray, positives: np.ndarray | None = None, clips: int = 0
) -> list[dict[str, Any]]:
    """Mean and standard deviation of d' by decade of the prior, from the rarest on.

    Args:
        prior: (S,) share of the clips that carry the label.
        d_prime: (S,); infinite where the ranking is perfect, NaN where there is none.
        positives: (S,) of the clips evaluated; None where not known.
        clips: evaluated; 0 where not known.

    Returns:
        A dict a decade that has classes: `low`, `high` (priors, low included), `classes` with a finite d',
        `mean`, `deviation` (of the sample; None under two classes), `by_sampling` (what the deviation would
        be if all had the mean for their true d'; None where not known, or clips are few), `positives` (their
        median), `infinite` (not in the mean).

    >>> by_decade(np.array([0.02, 0.05, 0.2]), np.array([1.0, 3.0, 2.0]))[0]["mean"]
    2.0
    """
    prior, d_prime = np.asarray(prior, float), np.asarray(d_prime, float)
    usable = (prior > 0) & ~np.isnan(d_prime)
    # 1e-3 must not fall into the decade below by a rounding of its logarithm.
    decades = np.floor(np.log10(prior, where=prior > 0, out=np.full(prior.shape, np.nan)) + 1e-9)
    rows = []
    for decade in np.unique(decades[usable]).astype(int).tolist():
        inside = usable & (decades == decade)
        values, counts = d_prime[inside], None if positives is None else positives[inside]
        finite = values[np.isfinite(values)]
        chance = None
        if counts is not None and len(finite) == len(values):  # infinite ones would be missing in it
            chance = by_sampling(float(finite.mean()), counts[np.isfinite(values)], clips)
        rows.append(
            {
                "low": 10.0**decade,
                "high": 10.0 ** (decade + 1),
                "classes": len(finite),
                "mean": float(finite.mean()) if len(finite) else None,
                "deviation": float(finite.std(ddof=1)) if len(finite) > 1 else None,
                "by_sampling": chance,
                "positives": None if counts is None else float(np.median(counts)),
                "infinite": int(np.isinf(values).sum()),
            }
        )
    return rows


def decades(classes: PerClass) -> list[dict[str, Any]]:
    """`by_decade` of an evaluation's classes.

    >>> few = PerClass.of(["rain", "dog"], positives=[10, 90], ap=[0.4, 0.8], auc=[0.9, 0.95], clips=100)
    >>> decades(few)[0]["positives"]
    50.0
    """
    return by_decade(classes.prior, classes.d_prime, classes.positives, classes.clips)


def running(prior: np.ndarray, d_prime: np.ndarray) -> dict[str, np.ndarray]:
    """Mean and standard deviation of d' along the prior, weighted by nearness in log prior.

    Returns:
        `prior`, `mean`, `deviation`, each (121,); NaN where fewer than four classes are near. Empty arrays
        where there are fewer than four classes or their priors do not differ.

    >>> [float(values[60].round(3)) for values in running(np.logspace(-4, -1, 50), np.full(50, 2.0)).values()]
    [0.003, 2.0, 0.0]
    """
    usable = (prior > 0) & np.isfinite(d_prime)
    place, values = np.log10(prior[usable]), d_prime[usable]
    if len(place) < LEAST or np.ptp(place) < 1e-9:
        return {name: np.empty(0) for name in ("prior", "mean", "deviation")}
    grid = np.linspace(place.min(), place.max(), GRID)
    mean, deviation = np.full(GRID, np.nan), np.full(GRID, np.nan)
    for n, at in enumerate(grid):
        weights = np.exp(-0.5 * ((place - at) / BANDWIDTH) ** 2)
        total = weights.sum()
        if total**2 / (weights**2).sum() >= LEAST:  # how many classes the weights amount to
            mean[n] = weights @ values / total
            deviation[n] = math.sqrt(max(0.0, weights @ (values - mean[n]) ** 2 / total))
    return {"prior": 10.0**grid, "mean": mean, "deviation": deviation}


def trend(prior: np.ndarray, d_prime: np.ndarray) -> dict[str, float | None]:
    """How d' and its scatter change with the prior: the two halves of the claim of Fig. 1, as numbers.

    Returns:
        `slope`: of d' by least squares, for each decade of prior; `slope_error`: its standard error;
        `scatter_slope`: the same of the distance from that line, below 0 where rare classes scatter more.
        None where there are fewer than three classes or their priors do not differ.

    >>> trend(np.array([0.001, 0.01, 0.1]), np.array([1.0, 2.0, 3.0]))["slope"]
    1.0
    """
    usable = (prior > 0) & np.isfinite(d_prime)
    place, values = np.log10(prior[usable]), d_prime[usable]
    if len(place) < 3 or np.ptp(place) < 1e-9:
        return {"slope": None, "slope_error": None, "scatter_slope": None}
    centred = place - place.mean()
    slope = centred @ values / (centred @ centred)
    rest = values - values.mean() - slope * centred
    error = math.sqrt(rest @ rest / (len(rest) - 2) / (centred @ centred))
    scatter = centred @ np.abs(rest) / (centred @ centred)
    return {
        "slope": round(float(slope), 12),
        "slope_error": round(error, 12),
        "scatter_slope": round(float(scatter), 12),
    }


def draw_priors(classes: PerClass, *, title: str = "") -> Figure:
    """Fig. 1: one point a class, d' against log prior, coloured by average precision.

    Classes with a perfect ranking, whose d' is infinite, stand as triangles at the upper edge, those with an
    AUC of 0 at the lower; classes without positives or without a prior are left out. Both are counted under
    the figure.

    Raises:
        ValueError: no class has a d' and a prior.

    >>> few = PerClass.of(["rain", "dog"], positives=[10, 90], ap=[0.4, 0.8], auc=[0.9, 0.95], clips=100)
    >>> draw_priors(few).axes[0].get_xscale()
    'log'
    """
    drawable = (classes.prior > 0) & ~np.isnan(classes.d_prime)
    if not drawable.any():
        raise ValueError("no class has a d' and a prior: nothing to draw")
    infinite = drawable & np.isinf(classes.d_prime)
    finite = drawable & ~infinite
    with drawing():
        figure = Figure(figsize=(8, 5), layout="constrained")
        axes = figure.add_subplot()
        axes.set_xscale("log")
        line = running(classes.prior, classes.d_prime)
        low, high = line["mean"] - line["deviation"], line["mean"] + line["deviation"]
        axes.fill_between(line["prior"], low, high, color=COLOURS[4], alpha=0.22, linewidth=0, gid="spread")
        above: dict[str, Any] = {"color": COLOURS[1], "zorder": 3}  # 30,000 points would cover them
        axes.plot(line["prior"], line["mean"], linewidth=1.8, gid="mean", **above)
        for edge in (low, high):
            axes.plot(line["prior"], edge, linewidth=1.0, linestyle=(0, (3, 2)), gid="edge", **above)
        size = float(np.clip(6000 / max(1, drawable.sum()), 3, 36))
        options: dict[str, Any] = {"cmap": _viridis(), "vmin": 0, "vmax": 1, "linewidths": 0}
        points = axes.scatter(
            classes.prior[finite],
            classes.d_prime[finite],
            c=classes.ap[finite],
            s=size,
            alpha=0.9,
            gid="classes",
            rasterized=finite.sum() > 5000,  # else an SVG of 30,000 classes takes a browser's breath
            **options,
        )
        for end, marker, place in ((np.inf, "^", 0.985), (-np.inf, "v", 0.015)):
            these = infinite & (classes.d_prime == end)
            if these.any():
                axes.scatter(
                    classes.prior[these],
                    np.full(these.sum(), place),
                    c=classes.ap[these],
                    s=max(size, 16),
                    marker=marker,
                    transform=axes.get_xaxis_transform(),
                    gid="infinite",
                    clip_on=False,
                    **options,
                )
        axes.axhline(0, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.set_xlabel(f"label prior (share of clips, {classes.prior_of})")
        axes.set_ylabel("d′ (class separation)")
        axes.set_title("\n".join(textwrap.wrap(title, TITLE)))
        figure.colorbar(points, ax=axes, label="average precision", pad=0.02).outline.set_visible(False)
        _limits(axes, classes.prior[drawable])
        said = _caption(classes, drawable, infinite)
        lines = [
            line for sentence in said for line in textwrap.wrap(sentence, CAPTION, subsequent_indent="  ")
        ]
        figure.supxlabel("\n".join(lines), fontsize=8.5, color=GREY, x=0.01, ha="left")
    return figure


def priors_html(classes: PerClass, *, title: str = "d′ by label prior") -> str:
    """Fig. 1 as a page: points tell their class, a box finds it; works without a mouse and on a phone.

    >>> few = PerClass.of(["rain", "dog"], positives=[10, 90], ap=[0.4, 0.8], auc=[0.9, 0.95], clips=100)
    >>> "<canvas" in priors_html(few)
    True
    """
    drawable = (classes.prior > 0) & ~np.isnan(classes.d_prime)
    line = running(classes.prior, classes.d_prime)
    colours = _viridis(0.0, 1.0)(np.linspace(0, 1, 64))[:, :3]
    kept = np.flatnonzero(drawable)
    data = {
        "label": [classes.labels[k] for k in kept],
        "positives": classes.positives[kept],
        # Six digits: what is drawn needs three, and 30,000 classes then make a page of 2 MB.
        "prior": _rounded(classes.prior[kept]),
        "ap": _rounded(classes.ap[kept]),
        "auc": _rounded(classes.auc[kept]),
        "d": _rounded(classes.d_prime[kept]),  # null: infinite
        "line": {name: _rounded(values) for name, values in line.items()},
        "colours": (colours * 255).round().astype(int),
    }
    infinite = drawable & np.isinf(classes.d_prime)
    warned = few_clips(decades(classes))
    body = PRIORS_BODY.format(
        legend=_legend(classes, drawable, infinite),
        decades=decades_html(classes),
        prior_of=classes.prior_of,
        few_clips=f'\n<p class="note" role="note">Note: {text(warned)}.</p>' if warned else "",
    )
    return page(title, body, script="priors.js", data=data)


PRIORS_BODY = """<p class="note">{legend}</p>
<div class="controls">
<label for="search">Find a class</label>
<input id="search" type="search" autocomplete="off" spellcheck="false" placeholder="part of its name">
<span id="found" role="status"></span>
</div>
<figure>
<canvas id="plot" class="plot" tabindex="0" role="application"
 aria-label="d prime of each class against its prior ({prior_of}). Arrow keys go from class to class.">
</canvas>
<div id="tip" class="tip" hidden></div>
<div class="scale"><span>average precision 0</span>
<canvas id="scale" width="64" height="1"></canvas><span>1</span></div>
</figure>
<p id="chosen" class="chosen" role="status">Point at a class, or press Tab and the arrow keys.</p>
<ol id="matches" class="matches"></ol>
<h2>By decade of the prior</h2>
{decades}{few_clips}
<p class="note">By sampling alone: the standard deviation that d′ would have if all classes of the decade had
its mean as their true d′, for as many clips as there are. Median positives: in the clips evaluated.</p>"""


def decades_html(classes: PerClass) -> str:
    """The figures of `by_decade` as an HTML table.

    >>> few = PerClass.of(["rain", "dog"], positives=[10, 90], ap=[0.4, 0.8], auc=[0.9, 0.95], clips=100)
    >>> decades_html(few).count("<tr>")
    2
    """
    rows = [
        "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
        for cells in decade_cells(decades(classes))
    ]
    heads = "".join(f'<th scope="col">{head}</th>' for head in DECADE_HEADS)
    return (
        f'<div class="scroll"><table class="numbers"><thead><tr>{heads}</tr></thead>\n<tbody>\n'
        + "\n".join(rows)
        + "\n</tbody></table></div>"
    )


DECADE_HEADS = (
    "prior from",
    "to",
    "classes",
    "mean d′",
    "standard deviation",
    "by sampling alone",
    "median positives",
    "infinite",
)


def decade_cells(rows: list[dict[str, Any]]) -> list[list[str]]:
    """The rows of `by_decade` as text, in the order of DECADE_HEADS.

    >>> decade_cells(by_decade(np.array([0.02, 0.05]), np.array([1.0, 3.0])))
    [['0.01', '0.1', '2', '2.00', '1.41', '-', '-', '0']]
    """
    return [
        [
            f"{row['low']:g}",
            f"{row['high']:g}",
            str(row["classes"]),
            *(
                "-" if row[name] is None else f"{row[name]:.2f}"
                for name in ("mean", "deviation", "by_sampling")
            ),
            "-" if row["positives"] is None else f"{row['positives']:g}",
            str(row["infinite"]),
        ]
        for row in rows
    ]


def _viridis(low: float = LIGHT[0], high: float = LIGHT[1]) -> Any:
    import matplotlib
    from matplotlib.colors import ListedColormap

    return ListedColormap(matplotlib.colormaps["viridis"](np.linspace(low, high, 256)))


def _limits(axes: Any, prior: np.ndarray) -> None:
    from matplotlib.ticker import FixedLocator, NullFormatter

    low, high = float(prior.min()), float(prior.max())
    decades = np.arange(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
    if high / low < 1.0001:  # every class equally frequent: a vertical line, with room beside it
        axes.set_xlim(low / 10**0.5, high * 10**0.5)
    else:
        margin = (high / low) ** 0.04
        axes.set_xlim(low / margin, high * margin)
    ticks = [10.0**decade for decade in decades] if len(decades) > 1 else sorted({low, high})
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
    axes.xaxis.set_minor_formatter(NullFormatter())


def _caption(classes: PerClass, drawable: np.ndarray, infinite: np.ndarray) -> list[str]:
    rows = decades(classes)
    warned = few_clips(rows)
    said = [_legend(classes, drawable, infinite), spread_words(rows), warned and f"Note: {warned}"]
    return [sentence[0].upper() + sentence[1:] for sentence in said if sentence]


def _legend(classes: PerClass, drawable: np.ndarray, infinite: np.ndarray) -> str:
    parts = [f"{drawable.sum():,} classes"]
    if len(running(classes.prior, classes.d_prime)["mean"]):
        parts.append("line and band: running mean ± standard deviation")
    if infinite.any():
        parts.append(
            f"{infinite.sum():,} with an infinite d′ (triangles at the edge: AUC 1 or 0), in no mean"
        )
    if left := int((~drawable).sum()):
        parts.append(f"{left:,} without a d′ or a prior left out")
    return "; ".join(parts)


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{value:.6g}") for value in values.tolist()]


def prior_summary(classes: PerClass) -> dict[str, Any]:
    """The numbers of Fig. 1: by decade, and the trend over all.

    >>> few = PerClass.of(["rain", "dog"], positives=[10, 90], ap=[0.4, 0.8], auc=[0.9, 0.95], clips=100)
    >>> len(prior_summary(few)["decades"])
    1
    """
    rows = decades(classes)
    return {
        "decades": rows,
        **trend(classes.prior, classes.d_prime),
        "prior_of": classes.prior_of,
        "few_clips": few_clips(rows),
    }


def write_priors(classes: PerClass, out: Path, *, title: str = "") -> list[Path]:
    """Write priors.png, priors.svg and priors.html into a folder.

    >>> write_priors(classes, Path("out/report"))  # doctest: +SKIP
    """
    from auricle.report.style import save

    figure = draw_priors(classes, title=title)
    paths = [out / "priors.png", out / "priors.svg", out / "priors.html"]
    for path in paths[:2]:
        save(figure, path, title=title)
    paths[2].write_text(priors_html(classes, title=title or "d′ by label prior"), encoding="utf-8")
    return paths
