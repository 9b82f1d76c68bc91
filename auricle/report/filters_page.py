"""Learned filters, drawn: responses, centre frequencies beside the scales, bandwidths, waveforms."""

import io
import textwrap
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from auricle.report.filters import (
    DRAWS,
    SCALE_HEADS,
    SCALES,
    Filters,
    fit_scale,
    in_words,
    scale_cells,
    summarise,
)
from auricle.report.page import data_uri, page, text
from auricle.report.style import COLOURS, GREY, drawing

FLOOR = 40.0  # decibels below each filter's peak that the picture shows
SHOWN = 6  # filters drawn as waveforms
HEADS = ("rank", "filter", "kind", "centre Hz", "bandwidth Hz", "peak dB")


def draw_filters(
    filters: Filters,
    *,
    title: str = "",
    caption: bool = True,
    draws: int = DRAWS,
    first: Filters | None = None,
) -> Figure:
    """Responses by rank, centre frequency by rank beside the scales, bandwidth by centre, some waveforms.

    Args:
        filters: the bank.
        title: of the figure.
        caption: whether the finding stands under it, in words.
        draws: banks of random filters to compare with.
        first: the filters before training, where they are known: their centres are drawn lightly.

    >>> from auricle.report.filters import measure_filters
    >>> noise = np.random.default_rng(0).standard_normal((16, 80))
    >>> [axes.get_xlabel() for axes in draw_filters(measure_filters(noise, 16000)).axes[:2]]
    ['filter, by centre frequency', 'filter, by centre frequency']
    """
    summary = summarise(filters, draws, first)
    with drawing():
        figure = Figure(figsize=(10.5, 8.2), layout="constrained")
        panels = figure.subplots(2, 2)
        _draw_responses(figure, panels[0, 0], filters)
        _draw_centres(panels[0, 1], filters, summary, first)
        _draw_bandwidths(panels[1, 0], filters, summary)
        _draw_waveforms(panels[1, 1], filters)
        panels[0, 1].sharey(panels[0, 0])
        figure.suptitle(title, x=0.01, ha="left", fontsize=12)
        if caption:
            words = textwrap.fill(in_words(summary), 150)
            figure.supxlabel(words, fontsize=9, color=GREY, x=0.01, ha="left")
    return figure


def _draw_responses(figure: Figure, axes: Any, filters: Filters) -> None:
    from matplotlib import colormaps

    count, half = len(filters.place), filters.rate / 2000
    level = 20 * np.log10(np.maximum(filters.response, 10 ** (-FLOOR / 20)))
    # Fewer rows than bins, the greatest of each: a picture has a few hundred.
    rows = np.stack([part.max(axis=1) for part in np.array_split(level, 512, axis=1)])
    rows[:, filters.kind == "dead"] = np.nan
    colours = colormaps["viridis"].with_extremes(bad="#e3e3e3")
    extent = (0.5, count + 0.5, 0, half)
    options: dict[str, Any] = {"cmap": colours, "vmin": -FLOOR, "vmax": 0, "interpolation": "nearest"}
    image = axes.imshow(rows, origin="lower", aspect="auto", extent=extent, gid="responses", **options)
    bar = figure.colorbar(image, ax=axes, label="dB below each filter's peak", pad=0.02)
    bar.outline.set_visible(False)
    axes.set_title("response")
    axes.set_ylabel("frequency (kHz)")
    _ranks(axes, count)


def _draw_centres(axes: Any, filters: Filters, summary: dict[str, Any], first: Filters | None) -> None:
    count, centres, before = len(filters.place), filters.centres, filters.count("low")
    if summary["nearest"] is not None:
        reach = np.linspace(centres[0], centres[-1], 400)
        for n, scale in enumerate(SCALES):
            start, slope, distance = fit_scale(centres, scale)
            axes.plot(
                start + slope * SCALES[scale](reach) + before + 1,
                reach / 1000,
                color=COLOURS[n],
                linestyle=("-", (0, (5, 2)), (0, (1, 1.2)), (0, (5, 2, 1, 2)))[n],
                linewidth=2.0 if scale == summary["nearest"] else 1.2,
                label=f"{scale}: {distance:.2f} ranks off",
                gid=scale,
            )
    ranks = np.arange(1, count + 1)
    size = float(np.clip(1600 / count, 6, 26))
    if first is not None:
        bands = np.flatnonzero(first.kind == "band")
        light: dict[str, Any] = {"color": "#bdbdbd", "label": "before training", "gid": "before"}
        axes.scatter(bands + 1, first.centres / 1000, s=size / 2, zorder=2, **light)
    for kinds, face, label in (
        (("band",), "black", "filters"),
        (("low", "high"), "none", "without a centre"),
    ):
        these = np.isin(filters.kind, kinds)
        if these.any():
            axes.scatter(
                ranks[these],
                filters.centre[these] / 1000,
                s=size,
                facecolors=face,
                edgecolors="black",
                linewidths=0.8,
                label=label,
                gid=kinds[0],
                zorder=3,
                clip_on=False,
            )
    axes.set_title("centre frequency beside the scales")
    axes.set_ylabel("frequency (kHz)")
    axes.set_ylim(0, filters.rate / 2000)
    _ranks(axes, count)
    axes.legend(loc="upper left", fontsize=9)


def _draw_bandwidths(axes: Any, filters: Filters, summary: dict[str, Any]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    living = filters.kind != "dead"
    reach = np.linspace(0, filters.rate / 2, 200)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    hearing = 24.7 * (1 + 0.00437 * reach)
    axes.plot(reach / 1000, hearing, color=COLOURS[2], linestyle=(0, (1, 1.2)), label="of hearing (ERB)")
    for value, colour, dashes, label in (
        (summary["random_bandwidth"], COLOURS[1], (0, (5, 2)), "untrained random filters, median"),
        (filters.rate / summary["taps"], GREY, "-", f"the least of {summary['taps']} taps"),
    ):
        axes.axhline(value, color=colour, linestyle=dashes, linewidth=1.2, label=label)
    axes.scatter(filters.centre[living] / 1000, filters.bandwidth[living], s=22, color="black", zorder=3)
    axes.set_xlim(0, filters.rate / 2000)
    axes.set_title("bandwidth")
    axes.set_xlabel("centre frequency (kHz)")
    axes.set_ylabel("equivalent rectangular bandwidth (Hz)")
    axes.legend(loc="lower right", fontsize=9)


def _draw_waveforms(axes: Any, filters: Filters) -> None:
    living = np.flatnonzero(filters.kind != "dead")
    chosen = living[np.unique(np.linspace(0, len(living) - 1, SHOWN).round().astype(int))]
    time = np.arange(filters.taps.shape[1]) * (1000 / filters.rate)
    for row, n in enumerate(chosen):
        wave = filters.taps[n] / np.abs(filters.taps[n]).max()
        axes.axhline(row, color="#e3e3e3", linewidth=0.7, zorder=0)
        axes.plot(time, row + 0.45 * wave, color=COLOURS[0], linewidth=1.2, gid=f"filter {n + 1}")
    names = [f"{n + 1}: {filters.centre[n]:,.0f} Hz" for n in chosen]
    axes.set_yticks(range(len(chosen)), names)
    axes.set_ylim(-0.6, len(chosen) - 0.4)
    axes.set_title("waveforms, each in its own scale")
    axes.set_xlabel("time (ms)")


def _ranks(axes: Any, count: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(0.5, count + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_xlabel("filter, by centre frequency")


def filter_cells(filters: Filters) -> list[list[str]]:
    """The filters as text, one a row, in the order of HEADS.

    >>> from auricle.report.filters import measure_filters
    >>> filter_cells(measure_filters(np.ones((1, 80)), 16000))
    [['1', '0', 'low', '0', '100', '38.1']]
    """
    rows = []
    for n, kind in enumerate(filters.kind.tolist()):
        figures = [f"{filters.centre[n]:.0f}", f"{filters.bandwidth[n]:.0f}", f"{filters.peak[n]:.1f}"]
        rows.append([str(n + 1), str(filters.place[n]), kind, *(["-"] * 3 if kind == "dead" else figures)])
    return rows


def filters_html(filters: Filters, *, title: str, draws: int = DRAWS, first: Filters | None = None) -> str:
    """The picture and its numbers as a page that needs nothing but itself.

    >>> from auricle.report.filters import measure_filters
    >>> noise = np.random.default_rng(0).standard_normal((4, 80))
    >>> filters_html(measure_filters(noise, 16000), title="Filters").count("<table")
    2
    """
    summary = summarise(filters, draws, first)
    words = in_words(summary)
    picture = data_uri(_png(draw_filters(filters, caption=False, draws=draws, first=first)), "image/png")
    body = [
        f'<p class="note">{text(words)}</p>',
        f'<figure><img src="{picture}" alt="{text(words)}" style="width: 100%"></figure>',
        "<h2>Scales</h2>",
        '<p class="note">Root mean square distance in ranks.</p>',
        _table(SCALE_HEADS, scale_cells(summary)),
        "<h2>Filters</h2>",
        _table(HEADS, filter_cells(filters)),
    ]
    return page(title, "\n".join(body))


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    with drawing():
        figure.savefig(content, format="png", dpi=110)
    return content.getvalue()


def _table(heads: tuple[str, ...], rows: list[list[str]]) -> str:
    top = "".join(f'<th scope="col">{text(head)}</th>' for head in heads)
    lines = "\n".join("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="scroll"><table class="numbers"><thead><tr>{top}</tr></thead>\n'
        f"<tbody>\n{lines}\n</tbody></table></div>"
    )
