"""Pictures of chosen settings: texts in their colours, over the steps, by kind of row."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from strategy_rl.logger.digest import printable
from strategy_rl.report.actions import in_order
from strategy_rl.report.fonts import families_for
from strategy_rl.report.settings import OTHERS
from strategy_rl.report.text_layout import Cell, Run, lay_out, settings_of_line, words_of_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Report = Mapping[str, Any]

# Light enough for black letters on them, and apart for people with colour blindness: from cold to
# hot (after Okabe & Ito 2008).
_PALETTE = ("#8FC1E3", "#7FCBB0", "#F7EE8C", "#F2C46D", "#E79A6B", "#DFB0CB", "#B7B4E0", "#C9A98C")
_GREY = "#DDDDDD"
_COLUMNS, _CELL = 96, 0.0875  # cells of a line; inches of a cell
_LINE = 0.22  # inches
_MOST_LINES = 14  # of one text
_LETTER = 0.602  # width of a letter of the base font, over its size

log = logging.getLogger(__name__)


class _Sheet(NamedTuple):
    """Where texts are drawn: x in cells, y in lines."""

    axes: Axes
    colours: Mapping[str, str]
    families: Sequence[str]

    def words(self, x: int, y: float, text: str, **style: Any) -> None:
        """Draw a text that begins in a cell."""
        size = 72 * _CELL / _LETTER
        style = {"fontsize": size, "family": list(self.families), **style}
        self.axes.text(x, y, text, va="center", ha="left", parse_math=False, **style)

    def background(self, run: Run, y: float) -> None:
        """Colour the cells of a run by its setting."""
        from matplotlib.patches import Rectangle

        colour = self.colours.get(run.setting, _GREY)
        self.axes.add_patch(Rectangle((run.start, y - 0.45), run.width, 0.9, color=colour, lw=0))


def written_texts_plot(report: Report) -> Figure | None:
    """A few texts, each word on the colour of the setting that it was written with.

    Texts with characters that no installed font has are left out: they would be boxes.
    """
    texts = report.get("texts", [])
    drawable = {i: f for i, text in enumerate(texts) if (f := families_for(_shown(text)))}
    if len(drawable) < len(texts):
        log.warning(
            "%d of %d texts have characters that no installed font has, so they are in the "
            "report's page and not in its picture; install a font such as Noto Sans CJK",
            len(texts) - len(drawable),
            len(texts),
        )
    if not drawable:
        return None
    from matplotlib.figure import Figure

    blocks = [(texts[i], _lines_of(texts[i]), families) for i, families in drawable.items()]
    height = sum(len(lines) + 1.5 for _, lines, _ in blocks) + 2.5  # the legend is below
    figure = Figure(figsize=(_COLUMNS * _CELL, height * _LINE))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(0, _COLUMNS + 1), ylim=(height, 0))
    axes.axis("off")
    colours, y = setting_colours(report), 0.5
    for text, lines, families in blocks:
        y = _draw(_Sheet(axes, colours, families), text, lines, y)
    used = {name for text, _, _ in blocks for name, _ in text["pieces"]}
    _legend(figure, used, colours, "lower center")
    return figure


def settings_by_step_plot(report: Report) -> Figure | None:
    """The share of each setting at each step, before PPO and after; white: ended before."""
    shares = _of_policies(report, "settings_by_step")
    if not any(len(row) > 1 for by_name in shares.values() for row in by_name.values()):
        return None
    figure, panels = _panels(len(shares))
    colours = setting_colours(report)
    for axes, (policy, by_name) in zip(panels, shares.items(), strict=True):
        for name, heights, bottoms in _stacked(by_name, colours):
            places = range(1, len(heights) + 1)
            axes.bar(places, heights, 1.0, bottom=bottoms, color=colours.get(name, _GREY), lw=0)
        axes.set(title=policy, xlabel="step", ylim=(0, 1))
        axes.locator_params(axis="x", integer=True)
    panels[0].set_ylabel("share of episodes")
    used = {name for by_name in shares.values() for name in by_name}
    _legend(figure, used, colours, "outside lower center")
    return figure


def settings_by_kind_plot(report: Report) -> Figure | None:
    """How often each setting is chosen in each kind of row, before PPO and after."""
    shares = _of_policies(report, "settings_by_kind")
    if not shares:
        return None
    kinds = list(dict.fromkeys(kind for table in shares.values() for kind in table))
    names = in_order(list({n for table in shares.values() for row in table.values() for n in row}))
    size = 1.5 + 0.6 * len(names), 1.2 + 0.45 * len(kinds)
    figure, panels = _panels(len(shares), *size)
    for axes, (policy, table) in zip(panels, shares.items(), strict=True):
        grid = [[table.get(kind, {}).get(name, 0.0) for name in names] for kind in kinds]
        axes.imshow(grid, cmap="Blues", vmin=0, vmax=1.6, aspect="auto")
        for y, row in enumerate(grid):
            for x, share in enumerate(row):
                axes.text(x, y, f"{share:.2f}", ha="center", va="center", fontsize=8)
        axes.set_xticks(range(len(names)), names, rotation=30, ha="right", parse_math=False)
        axes.set_yticks(range(len(kinds)), kinds, parse_math=False)
        axes.set_title(policy)
    return figure


def setting_colours(report: Report) -> dict[str, str]:
    """A colour for each of the most frequent settings; the others are grey."""
    total: dict[str, float] = {}
    for by_name in _of_policies(report, "settings_by_step").values():
        for name, row in by_name.items():
            total[name] = total.get(name, 0.0) + sum(row)
    total.pop(OTHERS, None)
    common = in_order(sorted(total, key=lambda name: -total[name])[: len(_PALETTE)])
    return dict(zip(common, _PALETTE, strict=False))


def _of_policies(report: Report, figures: str) -> dict[str, Any]:
    """What the entries of SFT and PPO hold, where they hold any."""
    policies = report["policies"]
    return {name: e for name in ("sft", "ppo") if (e := policies.get(name, {}).get(figures))}


def _stacked(
    by_name: Mapping[str, Sequence[float]], colours: Mapping[str, str]
) -> list[tuple[str, list[float], list[float]]]:
    """Name, heights and bottoms of each layer; settings without a colour are one layer."""
    layers = {name: list(by_name[name]) for name in colours if name in by_name}
    rest = [row for name, row in by_name.items() if name not in colours]
    if rest:
        layers[OTHERS] = [sum(column) for column in zip(*rest, strict=True)]
    stacked, bottoms = [], [0.0] * len(next(iter(by_name.values())))
    for name, heights in layers.items():
        stacked.append((name, heights, bottoms))
        bottoms = [low + high for low, high in zip(bottoms, heights, strict=True)]
    return stacked


def _panels(count: int, width: float = 4.5, height: float = 3.2) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(count * width, height), layout="constrained")
    return figure, list(figure.subplots(1, count, sharey=True, squeeze=False)[0])


def _legend(
    figure: Figure,
    used: Set[str],
    colours: Mapping[str, str],
    place: Literal["lower center", "outside lower center"],
) -> None:
    """Which colour is which setting; those without one share the grey."""
    from matplotlib.patches import Patch

    patches = [Patch(color=c, label=name) for name, c in colours.items() if name in used]
    if used - colours.keys():
        patches.append(Patch(color=_GREY, label=OTHERS))
    legend = figure.legend(handles=patches, loc=place, ncols=6, fontsize=8)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _head(text: Mapping[str, Any]) -> str:
    row = "an episode" if text["row"] is None else f"row {text['row']}"
    kind = f" ({printable(text['kind'])})" if text["kind"] else ""
    after = f", after: {printable(text['prompt'])}" if text["prompt"] else ""
    return f"{row}{kind}, return {text['return']:.2f}{after}"


def _lines_of(text: Mapping[str, Any]) -> list[list[Cell]]:
    return lay_out(text["pieces"], _COLUMNS)[:_MOST_LINES]


def _shown(text: Mapping[str, Any]) -> set[str]:
    """Every character that the picture of a text draws."""
    return set(_head(text)) | {c for line in _lines_of(text) for cell in line for c in cell.text}


def _draw(
    sheet: _Sheet, text: Mapping[str, Any], lines: Sequence[Sequence[Cell]], y: float
) -> float:
    """Draw a text below its headline; gives where the next one begins."""
    head = lay_out([["", _head(text)]], _COLUMNS)[0]
    for run in words_of_line(head):
        sheet.words(run.start, y, run.text, color="#555555", style="italic")
    for line in lines:
        y += 1
        for run in settings_of_line(line):
            sheet.background(run, y)
        for run in words_of_line(line):
            sheet.words(run.start, y, run.text)
    return y + 1.5
