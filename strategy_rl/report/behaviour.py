"""What a policy does, counted over its episodes: actions, accuracy, confusion, length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from strategy_rl.episodes import Episode, Step
from strategy_rl.report.actions import is_special, kind_of
from strategy_rl.report.settings import settings_by_kind, settings_by_step

MAX_KINDS = 12
MAX_STATES = 24
# Longer vectors are observations, not something to draw a bar for.
MAX_STATE_LENGTH = 8


def describe(episodes: Sequence[Episode]) -> dict[str, Any]:
    """Everything of a policy's report entry but its return.

    Returns:
        `episodes`, `components` (mean sum an episode), `mean_length`, `kl_to_sft` (nats an
        episode, of a policy that writes), `action_shares` (candidate, each special action, name or
        index), `most_frequent_action`, `most_frequent_text` (of written actions), `accuracy` (of
        decisions that take no special action, where the expert is known), `confusion`,
        `special_share_by_state`, `settings_by_kind` and `settings_by_step` as
        `strategy_rl.report.settings` has them.
    """
    steps = [step for episode in episodes for step in episode.steps]
    return {
        "episodes": len(episodes),
        "components": _components(episodes),
        "mean_length": len(steps) / len(episodes),
        "kl_to_sft": _kl(episodes),
        "action_shares": _shares(kind_of(step) for step in steps),
        "most_frequent_action": _most_frequent(steps),
        "most_frequent_text": _most_frequent_text(steps),
        "accuracy": _accuracy(steps),
        "confusion": _confusion(steps),
        "special_share_by_state": _by_state(steps),
        "settings_by_kind": settings_by_kind(episodes),
        "settings_by_step": settings_by_step(episodes),
    }


def _components(episodes: Sequence[Episode]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for episode in episodes:
        for step in episode.steps:
            for name, value in step.components.items():
                sums[name] = sums.get(name, 0.0) + value
    return {name: total / len(episodes) for name, total in sums.items()}


def _kl(episodes: Sequence[Episode]) -> float | None:
    """Mean log-ratio to SFT's policy over episodes of drawn texts: the KL, in nats."""
    ratios = [[step.log_ratio for step in episode.steps] for episode in episodes]
    if any(ratio is None for row in ratios for ratio in row):
        return None
    return sum(ratio or 0.0 for row in ratios for ratio in row) / len(episodes)


def _shares(kinds: Iterable[str | None]) -> dict[str, float]:
    """Shares by falling frequency; what is beyond `MAX_KINDS` is summed up as `others`."""
    counts = Counter(kind for kind in kinds if kind is not None)
    total = counts.total()
    common = counts.most_common(MAX_KINDS)
    shares = {kind: count / total for kind, count in common}
    rest = total - sum(count for _, count in common)
    return {**shares, "others": rest / total} if rest else shares


def _most_frequent(steps: Sequence[Step]) -> dict[str, Any] | None:
    """Among decisions that leave a choice: with one legal action there is nothing to collapse."""
    free = [
        step.action_name
        for step in steps
        if kind_of(step) is not None and len(step.legal_actions or (0, 1)) > 1
    ]
    if not free:
        return None
    name, count = Counter(free).most_common(1)[0]
    return {"action": name, "share": count / len(free)}


def _most_frequent_text(steps: Sequence[Step]) -> dict[str, Any] | None:
    texts = [step.action for step in steps if isinstance(step.action, str)]
    if not texts:
        return None
    text, count = Counter(texts).most_common(1)[0]
    return {"text": text, "share": count / len(texts)}


def _accuracy(steps: Sequence[Step]) -> float | None:
    known = [s for s in steps if s.expert_action is not None and not is_special(s)]
    if not known:
        return None
    return sum(step.action == step.expert_action for step in known) / len(known)


def _confusion(steps: Sequence[Step]) -> dict[str, Any] | None:
    """Counts as a table: what was chosen against the expert.

    Where there are few plain actions: the expert's action by the chosen one. Else: the kind of
    what was chosen by whether the expert agrees.
    """
    known = [s for s in steps if s.expert_action is not None and kind_of(s) is not None]
    if not known:
        return None
    pairs = [(s.expert_name or str(s.expert_action), s.action_name) for s in known]
    plain = not any(is_special(step) or kind_of(step) == "candidate" for step in known)
    if plain and len({name for pair in pairs for name in pair}) <= MAX_KINDS:
        counts = Counter((f"expert {expert}", f"chose {chosen}") for expert, chosen in pairs)
    else:
        counts = Counter((_detailed_kind(step), _agreement(step)) for step in known)
    rows = sorted({row for row, _ in counts})
    columns = sorted({column for _, column in counts})
    return {
        "rows": rows,
        "columns": columns,
        "counts": [[counts[row, column] for column in columns] for row in rows],
    }


def _detailed_kind(step: Step) -> str:
    kinds = step.candidate_kinds or []
    if isinstance(step.action, int) and step.action < len(kinds):
        return kinds[step.action]
    return kind_of(step) or ""


def _agreement(step: Step) -> str:
    return "expert agrees" if step.action == step.expert_action else "expert differs"


def _by_state(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Share of special actions in each small vector of the observation, where any is taken."""
    seen: dict[tuple[float, ...], list[bool]] = {}
    for step in steps if any(map(is_special, steps)) else ():
        state = _small_vector(step)
        if state is not None:
            seen.setdefault(state, []).append(is_special(step))
    common = sorted(seen, key=lambda state: -len(seen[state]))[:MAX_STATES]
    return [
        {
            "state": list(state),
            "decisions": len(seen[state]),
            "share": sum(seen[state]) / len(seen[state]),
        }
        for state in sorted(common)
    ]


def _small_vector(step: Step) -> tuple[float, ...] | None:
    """The first field of the observation that is a few numbers, rounded."""
    for value in (step.observation or {}).values():
        small = isinstance(value, list) and 0 < len(value) <= MAX_STATE_LENGTH
        if small and all(isinstance(x, int | float) for x in value):
            return tuple(round(float(x), 3) for x in value)
    return None
