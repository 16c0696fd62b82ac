"""Which settings are chosen where: by kind of row, and step by step. From episodes alone.

A setting is an action that picks no candidate, such as a temperature to write on with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from strategy_rl.episodes import Episode, Step
from strategy_rl.logger.digest import worst_to_best
from strategy_rl.report.actions import in_order, kind_of, offers_candidates, parts_of
from strategy_rl.report.kinds import MOST_KINDS

OTHERS = "others"
MOST_SETTINGS = 24  # of a table; more are no table that anyone reads
MOST_STEPS = 64
SHOWN_TEXTS = 5
MAX_PROMPT = 200


def settings_by_kind(episodes: Sequence[Episode]) -> dict[str, dict[str, float]]:
    """How often each setting is chosen, kind by kind of the rows.

    Returns:
        Share of the decisions by kind and setting; of a vector of factors each factor counts, so
        its shares add up to 1 for each. Empty with fewer than two kinds, or too many.
    """
    kinds = sorted({episode.kind for episode in episodes if episode.kind is not None})
    if not 2 <= len(kinds) <= MOST_KINDS or offers_candidates(episodes):
        return {}
    counts = {kind: Counter[str]() for kind in kinds}
    for episode in episodes:
        if episode.kind is not None:
            counts[episode.kind].update(p for step in episode.steps for p in parts_of(step))
    names = in_order(list(set().union(*counts.values())))
    if not 1 <= len(names) <= MOST_SETTINGS:
        return {}
    decisions = {
        kind: sum(len(episode.steps) for episode in episodes if episode.kind == kind)
        for kind in kinds
    }
    return {
        kind: {name: counts[kind][name] / max(decisions[kind], 1) for name in names}
        for kind in kinds
    }


def settings_by_step(episodes: Sequence[Episode]) -> dict[str, list[float]]:
    """How often each setting is chosen at each step, where steps write texts.

    Returns:
        By setting: the share of all episodes that chose it at step 1, 2, ...; what is missing to 1
        has ended before. Settings beyond `MOST_SETTINGS` are `others`, steps beyond `MOST_STEPS`
        are left out.
    """
    if offers_candidates(episodes) or not any(map(writes, episodes)):
        return {}
    length = min(MOST_STEPS, max(len(episode.steps) for episode in episodes))
    counts: dict[str, list[int]] = {}
    for episode in episodes:
        for place, step in enumerate(episode.steps[:length]):
            counts.setdefault(setting_of(step), [0] * length)[place] += 1
    common = sorted(counts, key=lambda name: -sum(counts[name]))
    kept, rest = common[:MOST_SETTINGS], common[MOST_SETTINGS:]
    total = len(episodes)
    shares = {name: [count / total for count in counts[name]] for name in in_order(kept)}
    if rest:
        columns = zip(*(counts[name] for name in rest), strict=True)
        shares[OTHERS] = [sum(column) / total for column in columns]
    return shares


def written_texts(episodes: Sequence[Episode]) -> list[dict[str, Any]]:
    """The texts of a few episodes from the worst to the best, with the setting of each piece.

    Returns:
        `row`, `kind`, `return`, `prompt` (its beginning, where it is known) and `pieces`, a list
        of setting and text. Empty where steps write no texts.
    """
    written = [episode for episode in episodes if writes(episode)]
    return [_written(episode) for episode in worst_to_best(written, SHOWN_TEXTS)]


def writes(episode: Episode) -> bool:
    """Whether its steps tell what they wrote."""
    return any(step.text is not None for step in episode.steps)


def setting_of(step: Step) -> str:
    """The name of a step's setting."""
    return kind_of(step) or step.action_name


def _written(episode: Episode) -> dict[str, Any]:
    pieces: list[list[str]] = []
    for step in episode.steps:
        setting, text = setting_of(step), _storable(step.text or "")
        if pieces and pieces[-1][0] == setting:
            pieces[-1][1] += text
        else:
            pieces.append([setting, text])
    return {
        "row": episode.row,
        "kind": episode.kind,
        "return": episode.return_,
        "prompt": _prompt(episode),
        "pieces": pieces,
    }


def _prompt(episode: Episode) -> str | None:
    prompt = (episode.steps[-1].reward_inputs or {}).get("prompt")
    return _storable(prompt)[:MAX_PROMPT] if isinstance(prompt, str) else None


def _storable(text: str) -> str:
    """A lone surrogate, which no file can hold, becomes `?`."""
    return text.encode("utf-8", errors="replace").decode("utf-8")
