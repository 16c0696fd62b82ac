"""The report as pictures. matplotlib is imported when a picture is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strategy_rl.report.setting_plots import (
    settings_by_kind_plot,
    settings_by_step_plot,
    written_texts_plot,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Report = Mapping[str, Any]
# Records by run: the points of each metric.
Records = Mapping[str, Sequence[Mapping[str, Any]]]

# Colours that people with colour blindness tell apart (Okabe & Ito 2008).
SFT, PPO, OTHER, REFERENCE = "#E69F00", "#0072B2", "#999999", "#009E73"
_COLOURS = {"sft": SFT, "ppo": PPO, "expert": REFERENCE}


def write_plots(report: Report, records: Records, folder: Path) -> list[Path]:
    """Draws every picture that the report has figures for.

    Args:
        report: as `summarize` or `combine` gives it.
        records: the lines of `metrics.jsonl`, by name of the run.
        folder: where the PNG files go; made if need be.

    Returns:
        The files, in the order of reading.
    """
    pictures: dict[str, Callable[[], Figure | None]] = {
        "returns.png": lambda: returns_plot(report),
        "learning_curve.png": lambda: learning_curve(records),
        "action_shares.png": lambda: action_shares(report),
        "components.png": lambda: components_plot(report),
        "special_by_state.png": lambda: special_by_state(report),
        "settings_by_kind.png": lambda: settings_by_kind_plot(report),
        "settings_by_step.png": lambda: settings_by_step_plot(report),
        "texts_by_setting.png": lambda: written_texts_plot(report),
    }
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, draw in pictures.items():
        path = folder / name
        path.unlink(missing_ok=True)  # none is left of an older report
        figure = draw()
        if figure is not None:
            figure.savefig(path, dpi=120, bbox_inches="tight")
            written.append(path)
    return written


def returns_plot(report: Report) -> Figure | None:
    """Mean return of every policy with its 95% interval, best on top."""
    policies = sorted(report["policies"].items(), key=lambda item: item[1]["mean_return"])
    if not policies:
        return None
    figure, axes = _figure(height=1.2 + 0.32 * len(policies))
    for y, (name, policy) in enumerate(policies):
        low, high = policy["ci95"]
        colour = _COLOURS.get(name, OTHER)
        axes.plot([low, high], [y, y], color=colour, linewidth=2.5, solid_capstyle="butt")
        axes.plot(policy["mean_return"], y, "o", color=colour, markersize=7)
        axes.annotate(
            f"{policy['mean_return']:.2f}",
            (policy["mean_return"], y),
            (0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    axes.set_yticks(range(len(policies)), [name for name, _ in policies])
    axes.margins(y=0.12)
    axes.set_xlabel("mean return on test rows, 95% interval")
    return figure


def learning_curve(records: Records) -> Figure | None:
    """Validation return and distance to the SFT policy while PPO learns, a line a run."""
    names = {"ppo/validation_return": "validation return", "ppo/ref_kl": "KL to SFT (nats)"}
    curves = {
        metric: {run: _points(lines, metric) for run, lines in records.items()} for metric in names
    }
    shown = {metric: by_run for metric, by_run in curves.items() if any(by_run.values())}
    if not shown:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1.2 + 2.2 * len(shown)), layout="constrained")
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (metric, by_run) in zip(panels, shown.items(), strict=True):
        for run, points in by_run.items():
            axes.plot(*zip(*points, strict=True), marker=".", label=run) if points else None
        axes.set_ylabel(names[metric])
        axes.grid(alpha=0.3)
    panels[-1].set_xlabel("decisions that PPO learned from")
    if len(records) > 1:
        panels[0].legend(fontsize=8)
    return figure


def action_shares(report: Report) -> Figure | None:
    """How often each kind of action is taken, before PPO and after."""
    shares = {n: report["policies"].get(n, {}).get("action_shares") for n in ("sft", "ppo")}
    return _before_and_after(shares, "share of decisions")


def components_plot(report: Report) -> Figure | None:
    """What each reward component gives an episode, before PPO and after."""
    components = {n: report["policies"].get(n, {}).get("components") for n in ("sft", "ppo")}
    return _before_and_after(components, "mean sum an episode")


def special_by_state(report: Report) -> Figure | None:
    """How often a special action is taken in each small state vector."""
    shares = {
        name: {_state(entry["state"]): entry["share"] for entry in policy["special_share_by_state"]}
        for name in ("sft", "ppo")
        if (policy := report["policies"].get(name)) is not None
    }
    if not any(share > 0 for by_state in shares.values() for share in by_state.values()):
        return None
    return _before_and_after(shares, "share of special actions", "state")


def _before_and_after(
    values: Mapping[str, Mapping[str, float] | None], ylabel: str, xlabel: str = ""
) -> Figure | None:
    kept = {name: by_key for name, by_key in values.items() if by_key}
    keys = list(dict.fromkeys(key for by_key in kept.values() for key in by_key))
    if not keys:
        return None
    figure, axes = _figure(width=max(4.5, 1.5 + 0.7 * len(keys)), height=3.2)
    width = 0.8 / len(kept)
    for number, (name, by_key) in enumerate(kept.items()):
        places = [x + (number - (len(kept) - 1) / 2) * width for x in range(len(keys))]
        heights = [by_key.get(key, 0.0) for key in keys]
        axes.bar(places, heights, width, color=_COLOURS[name], label=name)
    long = any(len(key) > 8 for key in keys)
    axes.set_xticks(
        range(len(keys)), keys, rotation=30 if long else 0, ha="right" if long else "center"
    )
    axes.grid(visible=False, axis="x")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_ylabel(ylabel)
    axes.set_xlabel(xlabel)
    axes.legend()
    return figure


def _figure(width: float = 7.0, height: float = 4.0) -> tuple[Figure, Axes]:
    """A figure without pyplot: nothing global, no display needed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    return figure, axes


def _points(lines: Sequence[Mapping[str, Any]], metric: str) -> list[tuple[int, float]]:
    points = ((line["step"], line.get("scalars", {}).get(metric)) for line in lines)
    return [(step, value) for step, value in points if value is not None]


def _state(state: Sequence[float]) -> str:
    return ", ".join(f"{number:g}" for number in state)
