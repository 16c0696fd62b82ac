"""An episode in words, as markdown that cannot break out of its page. Knows only the format."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import count
from typing import Any

from strategy_rl.episodes import Episode, Step

MAX_STEPS = 8
MAX_CANDIDATES = 12
MAX_TEXT = 160
BAR_WIDTH = 12

# Terminal escape sequences, control characters, lone surrogates and reordering of directions.
_UNPRINTABLE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"
    r"|[\x00-\x1f\x7f-\x9f\ud800-\udfff\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
_MARKUP = re.compile(r"[&<>|*_`\[\]\\#~$]")


def printable(text: str) -> str:
    """A foreign text on one line, without characters that are no signs."""
    return " ".join(_UNPRINTABLE.sub(" ", text).split())


def escape(text: str, limit: int = MAX_TEXT) -> str:
    """A foreign text on one line, at most `limit` characters, without any effect as markup."""
    line = printable(text)
    cut = line if len(line) <= limit else line[: limit - 1] + "…"
    return _MARKUP.sub(lambda match: f"&#{ord(match[0])};", cut)


def episode_digest(episode: Episode) -> str:
    """What the policy saw, chose and got, at most `MAX_STEPS` steps, as markdown.

    Each step has its context, a table of the candidates (or actions) with their probabilities,
    the chosen one, the reward with its components, and what the expert would do.
    """
    place = "" if episode.row is None else f", row {episode.row}"
    head = (
        f"**{escape(episode.policy)}{place}**: return {episode.return_:.2f} "
        f"in {len(episode.steps)} steps"
    )
    shown = [_step(number, step) for number, step in enumerate(episode.steps[:MAX_STEPS], start=1)]
    left = len(episode.steps) - MAX_STEPS
    tail = [f"({left} more steps)"] if left > 0 else []
    return "\n\n".join([head, *shown, *tail]) + "\n"


def episodes_digest(episodes: Sequence[Episode], count: int) -> str:
    """Digests of at most `count` episodes, from the worst return to the best, evenly spread.

    One text, since TensorBoard keeps one text a tag and step.
    """
    return "\n\n---\n\n".join(map(episode_digest, worst_to_best(episodes, count)))


def worst_to_best(episodes: Sequence[Episode], count: int) -> list[Episode]:
    """At most `count` episodes by rising return, the worst and the best among them."""
    ranked = sorted(episodes, key=lambda episode: episode.return_)
    count = min(count, len(ranked))
    return [ranked[i * (len(ranked) - 1) // max(count - 1, 1)] for i in range(count)]


def _step(number: int, step: Step) -> str:
    observation = step.observation or {}
    context = _context(observation.get("context"))
    numbers = _numbers(observation)
    parts = [f"**Step {number}**{f' ({numbers})' if numbers else ''}", context]
    return "\n\n".join(part for part in [*parts, _table(step), _outcome(step)] if part)


def _context(turns: Any) -> str:
    texts = [turns] if isinstance(turns, str) else turns or []
    return "\n".join(f"- “{escape(str(text))}”" for text in texts)


def _numbers(observation: dict[str, Any]) -> str:
    """The small numeric fields, e.g. how many turns are left."""
    hidden = ("context", "candidates", "action_mask")
    fields = {key: value for key, value in observation.items() if key not in hidden}
    return ", ".join(f"{escape(str(k))} {escape(str(v), 60)}" for k, v in fields.items())


def _table(step: Step) -> str:
    if step.legal_actions is None:
        return ""
    probabilities: Sequence[float | None] = step.probabilities or [None] * len(step.legal_actions)
    ranked = sorted(zip(step.legal_actions, probabilities, strict=True), key=lambda p: -(p[1] or 0))
    marked = [step.action, step.expert_action]
    shown = [pair for rank, pair in enumerate(ranked) if rank < MAX_CANDIDATES or pair[0] in marked]
    rows = [f"| {_name(step, a)} | {_bar(p)} | {_mark(step, a)} |" for a, p in shown]
    left = len(ranked) - len(shown)
    more = [f"| ({left} more) | | |"] if left else []
    return "\n".join(["| action | probability | |", "|---|---|---|", *rows, *more])


def _name(step: Step, action: int) -> str:
    candidates = (step.observation or {}).get("candidates") or []
    if action < len(candidates):
        kinds = step.candidate_kinds or []
        kind = f" ({escape(kinds[action])})" if action < len(kinds) else ""
        return f"“{escape(str(candidates[action]))}”{kind}"
    if action == step.action:
        return escape(step.action_name)
    legal = step.legal_actions if step.legal_actions is not None else count()
    names = dict(zip(legal, step.legal_names or [], strict=False))
    return escape(names.get(action, f"action {action}"))


def _bar(probability: float | None) -> str:
    if probability is None:
        return ""
    return f"{'█' * round(BAR_WIDTH * probability)} {probability:.2f}".lstrip()


def _mark(step: Step, action: int) -> str:
    marks = ["chosen"] * (action == step.action) + ["expert"] * (action == step.expert_action)
    return ", ".join(marks)


def _outcome(step: Step) -> str:
    parts = ", ".join(f"{escape(k)} {v:+.2f}" for k, v in step.components.items() if v)
    value = "" if step.value is None else f"; value before {step.value:.2f}"
    expert = "" if step.expert_action is None else f"; expert: {_expert(step)}"
    wrote = f"; wrote “{escape(step.text)}”" if step.text else ""
    return (
        f"Chose **{escape(step.action_name)}**, reward {step.reward:+.2f}"
        f"{f' ({parts})' if parts else ''}{value}{expert}{wrote}"
    )


def _expert(step: Step) -> str:
    if step.expert_action == step.action:
        return "the same"
    if isinstance(step.expert_action, int):
        return _name(step, step.expert_action)
    return escape(str(step.expert_action))
