"""How much faster texts are written side by side, and what the policy costs beside the model.

    python experiments/benchmarks/decoding_control.py [--envs 16] [--repeats 3] [--json FILE]

The vector environment of `DecodingControl-v0` beside as many single ones, in one process with one
thread, taking turns; each ratio is the median over the turns. In a turn every slot of the vector
plays 6 episodes and every single environment one; what ends is refilled at once. Rows are those of
the shipped sample; a policy of 2 x 64 picks among 4 settings, none of which stops. `new`: every
prompt is read again; `known`: prompts were read before, as in a training that comes back to them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from contest import machine

from strategy_rl.actors import PolicyActor
from strategy_rl.env import EnvSlots, make_slots
from strategy_rl.models import resolve_model
from strategy_rl.policy import Policy, PolicySpec
from strategy_rl.policy.network import NetworkSizes
from strategy_rl.policy.spaces import action_spec, observation_spec

ID = "strategy_rl_envs:strategy_rl/DecodingControl-v0"
KNOBS = {"temperature": [0.0, 0.7], "repetition_penalty": [1.0, 1.3]}
PROMPTS = {"new": 0, "known": 4096}  # megabytes of prompts that are kept
EPISODES = 6  # of each slot of the vector in a turn
CLOCKS = {"seconds": time.perf_counter, "cpu_seconds": time.process_time}


def zeros() -> dict[str, float]:
    """No time by any clock."""
    return dict.fromkeys(CLOCKS, 0.0)


@dataclass
class Turn:
    """What one contender did in one turn, and how long it and the policy alone took by clock."""

    episodes: int = 0
    tokens: int = 0
    total: dict[str, float] = field(default_factory=zeros)
    policy: dict[str, float] = field(default_factory=zeros)

    @property
    def figures(self) -> dict[str, float]:
        """Rates and shares."""
        return {
            **{f"episodes_per_{c[:-1]}": self.episodes / self.total[c] for c in CLOCKS},
            **{f"tokens_per_{c[:-1]}": self.tokens / self.total[c] for c in CLOCKS},
            **{f"policy_share_of_{c}": self.policy[c] / self.total[c] for c in CLOCKS},
        }


@contextmanager
def timed(times: dict[str, float]) -> Iterator[None]:
    """Add what passes by each clock."""
    before = {name: clock() for name, clock in CLOCKS.items()}
    yield
    for name, clock in CLOCKS.items():
        times[name] += clock() - before[name]


def make_actor(slots: EnvSlots) -> PolicyActor:
    """A policy of random weights that draws its actions."""
    action = action_spec(slots.action_space, ())
    observation = observation_spec(slots.observation_space, action, 1)
    sizes = NetworkSizes(0, 0, hidden_sizes=(64, 64))
    return PolicyActor(Policy(PolicySpec(observation, action, sizes), None), greedy=False)


def play(slots: EnvSlots, actor: PolicyActor, rows: Iterator[int], episodes: int) -> Turn:
    """Play so many episodes in all slots; what ends is refilled while there are more."""
    turn, rng = Turn(), np.random.default_rng(0)
    seen: dict[int, Any] = {}
    free, left = list(range(slots.num_slots)), episodes
    with timed(turn.total):
        while seen or left:
            begun, free = free[:left], []
            left -= len(begun)
            options = [{"row": next(rows) % slots.num_rows} for _ in begun]
            starts = slots.reset(begun, list(range(len(begun))), options)
            seen |= {slot: start.obs for slot, start in zip(begun, starts, strict=True)}
            with timed(turn.policy):
                choices = actor.act(list(seen.values()), [{}] * len(seen), rng)
            played = slots.step(list(seen), [choice.action for choice in choices])
            for slot, result in zip(list(seen), played, strict=True):
                seen[slot] = result.obs
                if result.terminated:
                    del seen[slot]
                    free.append(slot)
                    turn.episodes += 1
                    turn.tokens += result.info["reward_inputs"]["num_tokens"]
    return turn


def measure(contenders: Mapping[str, EnvSlots], repeats: int) -> dict[str, list[Turn]]:
    """Turns by contender, all over the same rows, after a warm-up that reads their prompts."""
    vector = contenders["vector"]
    episodes = {"single": vector.num_slots, "vector": EPISODES * vector.num_slots}
    actor = make_actor(vector)
    for row in range(episodes["vector"]):
        vector.reset([0], [0], [{"row": row % (vector.num_rows or 1)}])
    play(vector, actor, count(), vector.num_slots)
    play(contenders["single"], actor, count(), 1)
    turns: dict[str, list[Turn]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, slots in contenders.items():
            turns[name].append(play(slots, actor, count(), episodes[name]))
    return turns


def times_faster(turns: Mapping[str, Sequence[Turn]], clock: str) -> float:
    """The median over the turns."""
    key = f"episodes_per_{clock[:-1]}"
    pairs = zip(turns["vector"], turns["single"], strict=True)
    return statistics.median(own.figures[key] / other.figures[key] for own, other in pairs)


def main() -> None:
    """Measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="package:smollm2-135m-instruct")
    parser.add_argument("--envs", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the result there")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    settings = {"model": str(resolve_model(args.model)), "knobs": KNOBS, "dtype": args.dtype}
    found: dict[str, Any] = {}
    print(f"{args.model}, {args.dtype}, {args.threads} thread(s), {args.envs} slots\n")
    print(f"{'prompts':9}{'':9}{'episodes/s':>12}{'tokens/s':>10}{'policy':>9}{'x single':>10}")
    for prompts, cache_mb in PROMPTS.items():
        given = {**settings, "cache_mb": cache_mb}
        contenders = {
            "single": EnvSlots(lambda given=given: gymnasium.make(ID, **given), args.envs),
            "vector": make_slots(ID, given, args.envs),
        }
        turns = measure(contenders, args.repeats)
        times = {clock: times_faster(turns, clock) for clock in CLOCKS}
        found[prompts] = {"times_faster": times}
        for name, own in turns.items():
            listed = [turn.figures for turn in own]
            figures = {key: statistics.median(f[key] for f in listed) for key in listed[0]}
            found[prompts][name] = figures
            print(
                f"{prompts:9}{name:9}{figures['episodes_per_cpu_second']:12.2f}"
                f"{figures['tokens_per_cpu_second']:10.1f}"
                f"{figures['policy_share_of_cpu_seconds']:9.2%}"
                + (f"{times['cpu_seconds']:10.2f}" if name == "vector" else "")
            )
    result = {"settings": vars(args) | {"json": None}, "figures": found, "machine": machine()}
    print("\nper second of processor time\n" + json.dumps(result))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
