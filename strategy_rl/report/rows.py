"""The rows on which PPO gained and lost most against SFT, with their texts where kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from strategy_rl.episodes import Action, Episode, Step
from strategy_rl.report.returns import rows_of

SHOWN = 5
MAX_TEXT = 300


def extreme_rows(ppo: Sequence[Episode], sft: Sequence[Episode]) -> dict[str, list[dict[str, Any]]]:
    """The `best` and `worst` rows by return of PPO less return of SFT; level rows are left out."""
    ours = dict(zip(rows_of(ppo), ppo, strict=True))
    theirs = dict(zip(rows_of(sft), sft, strict=True))
    entries = [_entry(row, ours[row], theirs[row]) for row in ours if row in theirs]
    ranked = sorted(entries, key=lambda entry: (entry["difference"], entry["row"]))
    return {
        "best": [entry for entry in reversed(ranked[-SHOWN:]) if entry["difference"] > 0],
        "worst": [entry for entry in ranked[:SHOWN] if entry["difference"] < 0],
    }


def _entry(row: int, ppo: Episode, sft: Episode) -> dict[str, Any]:
    return {
        "row": row,
        "difference": ppo.return_ - sft.return_,
        "ppo_return": ppo.return_,
        "sft_return": sft.return_,
        "parting": _parting(ppo, sft),
    }


def _parting(ppo: Episode, sft: Episode) -> dict[str, Any] | None:
    """The first decision in which the two differ: up to there they saw the same."""
    for number, (ours, theirs) in enumerate(zip(ppo.steps, sft.steps, strict=False), start=1):
        if ours.action != theirs.action:
            return {
                "step": number,
                "context": _context(ours),
                "ppo": _text(ours, ours.action, ours.action_name),
                "sft": _text(ours, theirs.action, theirs.action_name),
                "expert": None
                if ours.expert_action is None
                else _text(ours, ours.expert_action, ours.expert_name),
            }
    return None


def _context(step: Step) -> str | None:
    context = (step.observation or {}).get("context")
    last = context[-1] if isinstance(context, list) and context else context
    return _short(last) if last else None


def _text(step: Step, action: Action, name: str | None = None) -> str:
    candidates = (step.observation or {}).get("candidates") or []
    if isinstance(action, int) and action < len(candidates):
        return _short(candidates[action])
    return str(action) if name is None else name


def _short(text: Any) -> str:
    """The beginning of a text; a lone surrogate, which no file can hold, becomes `?`."""
    return str(text)[:MAX_TEXT].encode("utf-8", errors="replace").decode("utf-8")
