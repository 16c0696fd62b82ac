"""Episodes as plain text, for a terminal: a list, or one in full."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

from strategy_rl.board.catalog import Catalog, RunIndex
from strategy_rl.board.heads import Head, number_of
from strategy_rl.board.queries import select
from strategy_rl.board.routes import episode_of
from strategy_rl.errors import RunError

LISTED = 20

_COLUMNS = ("row", "policy", "when", "kind", "return", "steps", "|V-R|", "least p", "actions")
_NUMBERS = {"row", "return", "steps", "|V-R|", "least p"}
_WIDTH = 100
_MAX_TEXT = 2000
_FEW = 8  # numbers that are shown one by one


def episodes_text(
    folder: Path,
    *,
    policy: str | None = None,
    split: str | None = None,
    row: int | None = None,
    sort: str | None = None,
    limit: int = LISTED,
) -> str:
    """What `strategy-rl episodes` prints: a list, or one episode where a single one is meant.

    Args:
        folder: A run.
        policy: Whose episodes; None for everybody's.
        split: Of which rows; None for all.
        row: Which row; with one policy its episode is shown in full.
        sort: As in the tab, e.g. `return`, `-value_error`, `component:bleu`.
        limit: How many episodes are listed.

    Raises:
        RunError: There are no episodes, or of several runs.
        RequestError: No such column, or none is left.
    """
    run = _only_run(folder)
    given = {"policy": policy, "split": split, "row": row, "sort": sort}
    params = {name: str(value) for name, value in given.items() if value is not None}
    entries = select(run, params)
    if not entries:
        raise RunError(f"{folder}: no episode with {_spoken(params)}; it has {_contents(run)}")
    if row is not None and len(entries) == 1:
        return "\n".join(_episode(episode_of(run, entries[0].head["key"])))
    lines = _table([_cells(entry.head) for entry in entries[:limit]])
    more = f"{min(limit, len(entries))} of {len(entries)} episodes"
    hint = "name one with --policy" if row is not None else "--row N --policy NAME shows one"
    return "\n".join([*lines, f"{more}; {hint}"])


def printable(text: str) -> str:
    """One line that commands no terminal: what cannot be printed is written as its escape."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _only_run(folder: Path) -> RunIndex:
    catalog = Catalog({folder: None})
    catalog.refresh()
    runs = [run for run in catalog.runs.values() if run.entries()]
    if not runs:
        raise RunError(f"{folder}: no episodes/*.jsonl in it; expected a run's folder")
    if len(runs) > 1:
        names = ", ".join(str(folder / run.name) for run in runs[:5])
        raise RunError(f"{folder}: holds {len(runs)} runs; name one of them: {names}")
    return runs[0]


def _spoken(params: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in params.items() if name != "sort")


def _contents(run: RunIndex) -> str:
    facts = run.facts()
    policies, splits = (", ".join(facts[name]) for name in ("policies", "splits"))
    return f"policies {policies}; splits {splits}"


def _cells(head: Head) -> list[str]:
    actions = [name if n == 1 else f"{name} x{n}" for name, n in head["actions"].items()]
    counted = head["iteration"] or (head["iteration"] == 0 and head["stage"] == "ppo")
    when = f"{head['stage']} {head['iteration']}" if counted else head["stage"]
    return [
        _shown(head["row"]),
        _name(head["policy"]),
        _name(when),
        _name(head["kind"]),
        _signed(head["return"]),
        str(head["length"]),
        _decimal(head["value_error"]),
        _probability(head["least_probability"]),
        _cut("; ".join(actions), 60),
    ]


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=True)]
    for cells in (_COLUMNS, *rows):
        aligned = [
            cell.rjust(width) if name in _NUMBERS else cell.ljust(width)
            for name, cell, width in zip(_COLUMNS, cells, widths, strict=True)
        ]
        yield "  ".join(aligned).rstrip()


def _episode(episode: Mapping[str, Any]) -> Iterator[str]:
    head = episode["head"]
    kind = f" ({_shown(head['kind'])})" if head["kind"] else ""
    ended = "terminated" if head["terminated"] else "truncated"
    yield f"{_shown(head['episode_id'])}: row {_shown(head['row'])}{kind}, {ended}"
    yield f"return {_signed(head['return'])} in {head['length']} steps"
    if (selection := head["selection"]) is not None:
        reasons = ", ".join(selection["reasons"])
        yield f"kept as {reasons} of {_shown(selection['num_episodes'])} episodes of its rollout"
    for number, step in enumerate(episode["steps"], start=1):
        yield ""
        yield f"step {number}"
        for name, text in _parts(step):
            yield from wrap(
                text, _WIDTH, initial_indent=f"  {name:<14}", subsequent_indent=" " * 16
            )


def _parts(step: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a step is described by: a name and a line each."""
    yield from _observation(step.get("observation"))
    yield "action", _shown(step.get("action_name"))
    for name, field in (("greedy", "greedy_name"), ("reference", "reference_name")):
        if step.get(field) not in (None, step.get("action_name")):
            yield name, _shown(step[field])
    if (expert := step.get("expert_name") or step.get("expert_action")) is not None:
        yield "expert", _shown(expert)
    if step.get("probabilities"):
        yield "probabilities", _probabilities(step)
    if step.get("text"):
        yield "text", _shown(step["text"])
    yield "reward", f"{_signed(step.get('reward'))}{_components(step)}"
    estimates = ("value", "return_to_go", "advantage", "entropy", "kl")
    known = [(name, number_of(step.get(name))) for name in estimates]
    told = [f"{name.replace('_', ' ')} {v:+.3f}" for name, v in known if v is not None]
    yield "estimates", ", ".join(told)


def _observation(observation: Any) -> Iterator[tuple[str, str]]:
    for name, value in observation.items() if isinstance(observation, dict) else ():
        if isinstance(value, list) and value and all(isinstance(v, str) for v in value):
            for place, text in enumerate(value):
                yield (_cut(name, 13) if place == 0 else ""), f"{place}: {_shown(text)}"
        elif isinstance(value, list) and len(value) > _FEW:
            yield _cut(name, 13), f"{len(value)} numbers"
        else:
            yield _cut(name, 13), _shown(value)


def _probabilities(step: Mapping[str, Any]) -> str:
    """The most probable actions."""
    given = step["probabilities"]
    names = step.get("legal_names") or step.get("legal_actions") or range(len(given))
    pairs = [(p, n) for p, n in zip(given, names, strict=False) if number_of(p) is not None]
    most = sorted(pairs, key=lambda pair: -pair[0])[:_FEW]
    return ", ".join(f"{_shown(name)} {_probability(p)}" for p, name in most)


def _components(step: Mapping[str, Any]) -> str:
    components = step.get("components")
    if not isinstance(components, dict) or not components:
        return ""
    return " = " + ", ".join(f"{_shown(n)} {_signed(v)}" for n, v in components.items())


def _signed(value: Any) -> str:
    number = number_of(value)
    return "-" if number is None else f"{number:+.3f}"


def _decimal(value: Any) -> str:
    number = number_of(value)
    return "-" if number is None else f"{number:.3f}"


def _probability(value: Any) -> str:
    """Three decimals; below 0.001 as 2e-5, so that small ones can be told apart."""
    number = number_of(value)
    if number is None or not 0 < number < 0.001:
        return _decimal(value)
    digit, exponent = f"{number:.0e}".split("e")
    return f"{digit}e{int(exponent)}"


def _shown(value: Any) -> str:
    return "-" if value is None else _cut(str(value), _MAX_TEXT)


def _name(value: Any) -> str:
    return "-" if value is None else _cut(str(value), 24)


def _cut(text: str, width: int) -> str:
    """Printable, and no longer than `width`."""
    text = printable(text[: width + 1])
    return text if len(text) <= width else text[: width - 3] + "..."
