"""The table of every metric: name, meaning, healthy range. Nothing is logged that is not in it.

A `*` stands for one part of a name: a reward component, a policy, an action. Knows how a name is
looked up and how the table becomes a page; `metric_tables/` has the rows, a file a stage.
"""

from __future__ import annotations

import difflib
import re
from functools import cache

from strategy_rl.logger.metric_tables.evaluation import EVALUATION, SHOWN
from strategy_rl.logger.metric_tables.metric import Metric
from strategy_rl.logger.metric_tables.ppo import PPO, PPO_HISTOGRAMS
from strategy_rl.logger.metric_tables.rollout import ROLLOUT
from strategy_rl.logger.metric_tables.sft import SFT

__all__ = ["METRICS", "Metric", "find_metric", "render_metrics"]

TIMINGS: tuple[Metric, ...] = (
    Metric(
        "time/*",
        "Wall-clock figures, kept out of every comparison: `_seconds`, `_per_second` a rate, "
        "`_mb` megabytes.",
        "steady; growing times mean that something piles up",
    ),
)

METRICS: tuple[Metric, ...] = (
    *SFT,
    *PPO,
    *ROLLOUT,
    *EVALUATION,
    *TIMINGS,
    *PPO_HISTOGRAMS,
    *SHOWN,
)


def find_metric(name: str, kind: str = "scalar") -> Metric:
    """The table's row for a name.

    Raises:
        ValueError: no row of that kind has this name.
    """
    for metric in METRICS:
        if metric.kind == kind and _expression(metric.pattern).fullmatch(name):
            return metric
    patterns = [metric.pattern for metric in METRICS if metric.kind == kind]
    near = difflib.get_close_matches(name, patterns, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "; add it to METRICS, with its meaning"
    raise ValueError(f"no {kind} metric is called {name!r}{hint}")


def render_metrics() -> str:
    """The table as the markdown page `docs/metrics.md`."""
    head = ["| metric | meaning | healthy | higher is |", "|---|---|---|---|"]
    rows = [
        f"| `{metric.pattern}`{'' if metric.kind == 'scalar' else f' ({metric.kind})'} "
        f"| {metric.meaning} | {metric.healthy} | {metric.higher_is} |"
        for metric in METRICS
    ]
    return _PAGE + "\n".join([*head, *rows]) + "\n"


@cache
def _expression(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", "[^/]+"))


_PAGE = """# Metrics

Every figure that a run writes to `metrics.jsonl`, `timings.jsonl` (`time/*`) and TensorBoard.
A `*` stands for one part of a name: a reward component, a policy, an action.
This page is made from `METRICS` in `strategy_rl/logger/metrics.py`; a test compares them.

"""
