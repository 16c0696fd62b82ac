"""The rules about the order of calls: what follows an end, and two environments in turns."""

from __future__ import annotations

from contextlib import suppress
from copy import deepcopy
from itertools import zip_longest

from strategy_rl_envs.testing.faults import Faults, Replay
from strategy_rl_envs.testing.play import Player, check_same, make_chooser
from strategy_rl_envs.testing.rules import Result


def check_after_end(player: Player, faults: Faults, seed: int) -> None:
    """A step after the end is refused, or finds the episode still over; the next one is whole."""
    first, replay = player.play(make_chooser(player.env, "random", seed), seed)
    if not replay.actions or not first[-1].ended:
        return
    actions = list(replay.actions)
    replay.actions.append(actions[-1])
    with suppress(Exception):  # refusing is right
        _, _, terminated, truncated, _ = player.env.step(deepcopy(actions[-1]))
        if not (terminated or truncated):
            seen = "the episode goes on after its end; raise gymnasium.error.ResetNeeded"
            faults.note("step after the end", seen, replay)
    rest = iter(actions)
    again, _ = player.play(lambda _: next(rest, None), seed)
    difference = check_same(first, again)
    if difference:
        faults.note("step after the end", f"it disturbs the next episode: {difference}", replay)


def check_in_turns(one: Player, other: Player, faults: Faults, seed: int) -> None:
    """Two environments stepped in turns give what each gives alone."""
    seeds = (seed, seed + 1)
    alone = [one.play(make_chooser(one.env, "random", given), given) for given in seeds]
    if any(not replay.actions for _, replay in alone):
        return
    envs = (one.env, other.env)
    try:
        together = [
            [Result(*deepcopy(env.reset(seed=s)))] for env, s in zip(envs, seeds, strict=True)
        ]
        for actions in zip_longest(*(replay.actions for _, replay in alone)):
            for env, results, action in zip(envs, together, actions, strict=True):
                if action is not None:
                    obs, reward, terminated, truncated, info = deepcopy(env.step(action))
                    results.append(Result(obs, info, reward, terminated, truncated))
    except Exception as error:
        seen = f"stepped in turns with another environment, raised {type(error).__name__}: {error}"
        faults.note("shared state", seen, Replay(seeds[0], None, alone[0][1].actions))
        return
    for results, (expected, replay) in zip(together, alone, strict=True):
        difference = check_same(expected, results)
        if difference:
            seen = f"stepped in turns with another environment, {difference}"
            faults.note("shared state", seen, replay)
