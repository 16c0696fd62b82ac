"""What each route answers: a function of the runs and the request's parameters. Knows no HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from strategy_rl.board.catalog import Catalog, RunIndex
from strategy_rl.board.compare import changed_only, mean_difference, pairs_of, pairs_to_json
from strategy_rl.board.compare import in_order as pairs_in_order
from strategy_rl.board.episode import steps_of
from strategy_rl.board.faults import RequestError
from strategy_rl.board.figures import curve, histogram
from strategy_rl.board.heads import number_of
from strategy_rl.board.index import Entry, read_whole
from strategy_rl.board.maps import action_map
from strategy_rl.board.params import Params, whole
from strategy_rl.board.probes import probes_of
from strategy_rl.board.queries import RETURN, page_of, sample, select, value_getter
from strategy_rl.board.renderers import renderer_of
from strategy_rl.board.warnings import warnings_of

Answer = dict[str, Any]


def list_runs(catalog: Catalog, params: Params) -> Answer:
    """Every run with its contents and what its episodes can be filtered by."""
    return {"version": catalog.version, "runs": [r.facts() for r in catalog.runs.values()]}


def changed(catalog: Catalog, params: Params) -> Answer:
    """A number that differs from the last one where anything changed."""
    return {"version": catalog.version}


def list_episodes(catalog: Catalog, params: Params) -> Answer:
    """One page of the episodes of a run."""
    entries, page = page_of(select(_run(catalog, params), params), params)
    return {**page, "episodes": [entry.head for entry in entries]}


def show_episode(catalog: Catalog, params: Params) -> Answer:
    """One episode in full."""
    run, key = _run(catalog, params), whole(params, "key")
    if key is None:
        raise RequestError("key: not given; expected that of an episode in the list")
    return episode_of(run, key)


def episode_of(run: RunIndex, key: int) -> Answer:
    """One episode in full, with what can be computed of each step.

    Raises:
        RequestError: The run has no such episode.
    """
    entry = run.entry(key)
    gamma = _share(run.option("ppo", "gamma"), 1.0)
    gae_lambda = _share(run.option("ppo", "gae_lambda"), 0.95)
    episode = read_whole(entry)
    return {
        "head": entry.head,
        "header": entry.file.header or {},
        "gamma": gamma,
        "gae_lambda": gae_lambda,
        "final_value": number_of(episode.get("final_value")),
        "renderer": renderer_of(run.task(), run.option),
        "scaled_values": run.scaled_values(),
        "steps": steps_of(episode, gamma, gae_lambda, run.scaled_values()),
    }


def compare(catalog: Catalog, params: Params) -> Answer:
    """Two policies, of one run or two, row by row."""
    found = pairs_of(_side(catalog, params, "a"), _side(catalog, params, "b"))
    changes = changed_only(found)
    shown = changes if params.get("changed") == "1" else found
    pairs, page = page_of(pairs_in_order(shown, params.get("sort") or "-gain"), params)
    return {
        **page,
        "rows_in_common": len(found),
        "changed": len(changes),
        "mean_difference": mean_difference(found),
        "pairs": pairs_to_json(pairs),
    }


def show_probes(catalog: Catalog, params: Params) -> Answer:
    """The rows that are played again and again."""
    return probes_of(_run(catalog, params).entries())


def show_histogram(catalog: Catalog, params: Params) -> Answer:
    """Of the return, or of another column `of` which episodes can be sorted by."""
    value = value_getter(params.get("of") or RETURN)
    bins = whole(params, "bins", least=1) or 30
    return histogram(sample(_run(catalog, params), params), value, bins)


def show_curve(catalog: Catalog, params: Params) -> Answer:
    """Mean returns in the order of training."""
    return {"points": curve(_run(catalog, params).entries())}


def show_map(catalog: Catalog, params: Params) -> Answer:
    """Counts of actions."""
    entries = sample(_run(catalog, params), params)
    return action_map(entries, params.get("by") or "iteration")


def show_warnings(catalog: Catalog, params: Params) -> Answer:
    """What is wrong with a run."""
    run = _run(catalog, params)
    return {"warnings": _warnings(run, run.version)}


ROUTES: Mapping[str, Callable[[Catalog, Params], Answer]] = {
    "/runs": list_runs,
    "/changed": changed,
    "/episodes": list_episodes,
    "/episode": show_episode,
    "/compare": compare,
    "/probes": show_probes,
    "/histogram": show_histogram,
    "/curve": show_curve,
    "/map": show_map,
    "/warnings": show_warnings,
}


def _run(catalog: Catalog, params: Params, name: str = "run") -> RunIndex:
    if name not in params:
        raise RequestError(f"{name}: not given; expected the name of a run in the list")
    return catalog.run(params[name])


@lru_cache(maxsize=8)
def _warnings(run: RunIndex, version: int) -> list[dict[str, Any]]:
    """Kept until the run changes, since the steps of many episodes are read."""
    return warnings_of(run.entries())


def _side(catalog: Catalog, params: Params, side: str) -> list[Entry]:
    """The episodes of one side of a comparison."""
    names = {"policy": f"policy_{side}", "iteration": f"iteration_{side}"}
    names |= {"split": "split", "selected": "selected"}
    given = {name: params[source] for name, source in names.items() if source in params}
    try:
        return sample(_run(catalog, params, f"run_{side}"), given)
    except RequestError as error:
        raise RequestError(f"side {side}: {error}", error.status) from error


def _share(option: Any, default: float) -> float:
    """An option between 0 and 1; the default where the run says nothing that can be one."""
    number = number_of(option)
    return number if number is not None and 0 <= number <= 1 else default
