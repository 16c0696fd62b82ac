"""What is wrong with a run, as far as its episodes tell. A message, why, and where to look.

`report/health.py` judges metrics; this module judges episodes, so each warning filters a list.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from strategy_rl.board.heads import RANDOM, reasons_of
from strategy_rl.board.index import Entry
from strategy_rl.board.readings import Group, Reading

LENGTH_CORRELATION = 0.8
ONE_ACTION_SHARE = 0.95
ONE_TEXT_SHARE = 0.25
ENTROPY_LEFT = 0.1

_LATEST = 100  # training episodes that show what the policy does now; as many show how it began
_FEW = 20  # episodes, or decisions, below which nothing is said
_SHOWN_TEXT = 60
_HARDLY = 1e-6  # what numbers differ by that were added up one by one

Groups = Mapping[tuple[str, str], Group]  # by policy and split


class Finding(NamedTuple):
    """One finding; `filter` are parameters of the list of episodes."""

    code: str
    message: str
    detail: str
    filter: dict[str, str]


class Follows(NamedTuple):
    """How a component follows the length of episodes: Pearson's r over some `episodes`."""

    r: float
    name: str
    unit: str
    policy: str
    split: str
    episodes: int


def warnings_of(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Every warning that the episodes of a run give cause for.

    Of a training rollout only what was drawn at random is judged, and shown.
    """
    drawn = [entry for entry in entries if RANDOM in reasons_of(entry.head)]
    groups = _groups(drawn)
    found = [warning for check in _CHECKS for warning in check(groups)]
    shown = {"selected": RANDOM} if len(drawn) < len(entries) else {}
    return [{**each._asdict(), "filter": {**each.filter, **shown}} for each in found]


def _groups(entries: Sequence[Entry]) -> Groups:
    groups: dict[tuple[str, str], Group] = {}
    for entry in entries:
        policy, split = entry.head["policy"], entry.head["split"]
        if policy is not None and split is not None:
            groups.setdefault((policy, split), Group()).entries.append(entry)
    return groups


def _length_correlation(groups: Groups) -> Iterator[Finding]:
    """Of each component the strongest case alone."""
    strongest: dict[str, Follows] = {}
    for (policy, split), group in _trained(groups).items():
        unit, entries, lengths = group.lengths()
        for name in _components(entries):
            sums = [e.head["components"].get(name) for e in entries]
            pairs = [(n, v) for n, v in zip(lengths, sums, strict=True) if v is not None]
            r = 0.0 if _cost_of_length(pairs) else correlation(pairs) or 0.0
            before = strongest[name].r if name in strongest else LENGTH_CORRELATION
            if abs(r) > abs(before):
                strongest[name] = Follows(r, name, unit, policy, split, len(pairs))
    yield from map(_follows, strongest.values())


def _follows(case: Follows) -> Finding:
    place = {"policy": case.policy, "split": case.split}
    over = f"over {case.episodes} episodes of {case.policy} on {case.split}"
    if case.unit == "steps":
        return Finding(
            "length_correlation",
            f"{case.name} goes with the length of an episode",
            f"r = {case.r:.2f} {over}: a policy may change its length instead of what the "
            "component is to judge; but where an episode ends at a mistake, right answers follow "
            "its length by themselves",
            {**place, "sort": "-length"},
        )
    return Finding(
        "length_correlation",
        f"{case.name} goes with the length of what is written",
        f"r = {case.r:.2f} with the number of {case.unit} {over}: a policy may write more or less "
        "instead of what the component is to judge",
        {**place, "sort": f"{'-' if case.r > 0 else ''}component:{case.name}"},  # longest first
    )


def _no_variance(groups: Groups) -> Iterator[Finding]:
    """Over all policies of a split: an expert alone may well earn the same everywhere."""
    for split in dict.fromkeys(split for _, split in groups):
        entries = [e for (_, s), group in groups.items() if s == split for e in group.entries]
        if len(entries) < _FEW:
            continue
        returns = {e.head["return"] for e in entries}
        if len(returns) == 1:
            yield _same("the return", next(iter(returns)), len(entries), split)
            continue
        for name in _components(entries):
            values = {e.head["components"].get(name, 0.0) for e in entries}
            if len(values) == 1:
                yield _same(name, next(iter(values)), len(entries), split)


def _same(name: str, value: float | None, count: int, split: str) -> Finding:
    return Finding(
        "no_variance",
        f"{name} is the same on every episode of {split}",
        f"{value} on all {count}, whatever the policy: there is nothing to learn from it",
        {"split": split},
    )


def _one_action(groups: Groups) -> Iterator[Finding]:
    names = {n for group in groups.values() for e in group.entries for n in e.head["actions"]}
    for (policy, split), group in _judged(groups).items():
        counts: Counter[str] = Counter()
        for entry in group.entries:
            counts.update(entry.head["actions"])
        total = sum(counts.values())
        if total < _FEW or len(names) < 2:
            continue
        name, count = counts.most_common(1)[0]
        if count / total > ONE_ACTION_SHARE:
            yield Finding(
                "one_action",
                f"{policy} takes {_short(name)} nearly always",
                f"in {count} of {total} decisions on {split}: it has collapsed to one action, "
                "unless that is the best everywhere",
                {"policy": policy, "split": split, "action": name},
            )


def _one_text(groups: Groups) -> Iterator[Finding]:
    for (policy, split), group in _judged(groups).items():
        texts = [reading.text for reading in group.readings if reading.text]
        if len(texts) < _FEW:
            continue
        text, count = Counter(texts).most_common(1)[0]
        if count / len(texts) >= ONE_TEXT_SHARE:
            yield Finding(
                "one_text",
                f"{policy} writes the same text again and again",
                f"{_short(text)} in {count} of {len(texts)} episodes on {split}: a text that pays "
                "whatever is asked shows a weakness of the reward",
                {"policy": policy, "split": split, "text": text.splitlines()[0][:_SHOWN_TEXT]},
            )


def _entropy_collapse(groups: Groups) -> Iterator[Finding]:
    """PPO's policy against SFT's on the same split; in training, the latest against the first."""
    for (policy, split), group in _trained(groups).items():
        before = groups.get((policy.replace("ppo", "sft", 1), split))
        if policy.startswith("ppo") and before is not None:
            yield from _collapsed(policy, split, "after SFT", before, group)
    for (policy, split), (first, latest) in _training(groups).items():
        yield from _collapsed(policy, split, "at first", first, latest)


def _collapsed(policy: str, split: str, when: str, before: Group, now: Group) -> Iterator[Finding]:
    first, last = _mean_entropy(before.readings), _mean_entropy(now.readings)
    if first is not None and last is not None and first > 0 and last < ENTROPY_LEFT * first:
        yield Finding(
            "entropy_collapse",
            f"the entropy of {policy} is {last / first:.0%} of that {when}",
            f"{last:.3f} against {first:.3f} nats a decision on {split}: it no longer tries "
            "anything",
            {"policy": policy, "split": split, "sort": "least_probability"},
        )


def correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Pearson's r; None with fewer than 20 pairs, or where one side hardly varies."""
    sides = list(zip(*pairs, strict=True))
    if len(pairs) < _FEW or any(max(side) - min(side) < _HARDLY for side in sides):
        return None
    return statistics.correlation(*sides)


def _cost_of_length(pairs: Sequence[tuple[float, float]]) -> bool:
    """Whether each step, or token, was paid the same: that is to go with the length."""
    rates = [value / length for length, value in pairs if length]
    return bool(rates) and max(rates) - min(rates) <= _HARDLY * max(map(abs, rates))


def _mean_entropy(readings: Sequence[Reading]) -> float | None:
    """Over the steps that record probabilities, in nats; None with fewer than 20 of them."""
    found = [h for reading in readings for h in reading.entropies]
    return statistics.fmean(found) if len(found) >= _FEW else None


def _trained(groups: Groups) -> Groups:
    """The policies that were trained; all where none has such a name. A rival may be simple."""
    trained = {key: each for key, each in groups.items() if key[0].startswith(("ppo", "sft"))}
    return trained or groups


def _judged(groups: Groups) -> Groups:
    """As `_trained`, and of a training what its latest episodes show."""
    latest = {key: latest for key, (_, latest) in _training(groups).items()}
    return {**_trained(groups), **latest}


def _training(groups: Groups) -> dict[tuple[str, str], tuple[Group, Group]]:
    """The first and the latest of PPO's training episodes, never one in both."""
    found = {}
    for (policy, split), group in groups.items():
        entries = [e for e in group.entries if split == "train" and e.head["stage"] == "ppo"]
        entries.sort(key=lambda e: e.head["iteration"] or 0)
        count = min(_LATEST, len(entries) // 2)
        if count:
            found[policy, split] = Group(entries[:count]), Group(entries[-count:])
    return found


def _components(entries: Sequence[Entry]) -> list[str]:
    return list(dict.fromkeys(name for e in entries for name in e.head["components"]))


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_TEXT else text[: _SHOWN_TEXT - 3] + "...")


_CHECKS: tuple[Callable[[Groups], Iterator[Finding]], ...] = (
    _no_variance,
    _one_action,
    _one_text,
    _entropy_collapse,
    _length_correlation,
)
