"""Which episodes of a rollout are kept, and that they say what was played and learnt from."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from toys import Counter, counters, numbers_policy, policy_of, stir

from strategy_rl.collector import StepCollector, collect_episodes
from strategy_rl.env import EnvSlots
from strategy_rl.errors import EnvironmentFault
from strategy_rl.evaluation import Label
from strategy_rl.recording import CREDIT, MAX_SHARE, TrainingEpisodes, candidates, probe_episodes
from strategy_rl.reference import Reference
from strategy_rl.rollout import EpisodePlan, Rollout
from strategy_rl.stages.keeping import EpisodeKeeper
from strategy_rl.updates import DecisionMethod
from strategy_rl_envs.rewards import WeightedReward


def drawn(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


class Paying(gymnasium.Env[Any, Any]):
    """Two steps; the last pays the episode's seed. The observation is written into one array."""

    observation_space = spaces.Box(0, np.inf, (2,), np.float32)
    action_space = spaces.Discrete(3)

    def __init__(self) -> None:
        self.shown = np.zeros(2, np.float32)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.number, self.steps = seed or 0, 0
        self.shown[:] = self.number / 100, 0
        return self.shown, {"kind": f"kind {self.number % 2}", "action_mask": np.ones(3, np.int8)}

    def step(self, action: Any) -> Any:
        self.steps += 1
        self.shown[:] = self.number / 100, self.steps / 10
        last = self.steps == 2
        reward = float(self.number) if last else 0.0
        info = {"reward_components": {"pay": reward}, "action_mask": np.ones(3, np.int8)}
        return self.shown, reward, last, False, info


def rollout_of(policy: Any, count: int = 40, env: Any = Paying) -> Rollout:
    plans = [EpisodePlan(number) for number in range(count)]
    return collect_episodes(policy, EnvSlots(env, 4), plans, drawn())


def recorder(policy: Any, count: int = 2, credit: float = 1e6, **options: Any) -> TrainingEpisodes:
    method = DecisionMethod(policy, options.get("reference"))
    whole = options.get("whole", True)
    made = TrainingEpisodes(EnvSlots(Paying, 1), method.told, count, 0, {}, whole=whole)
    made.counters[CREDIT] = credit
    return made


def test_the_reasons_take_turns_each_from_its_own_end() -> None:
    returns, surprise = np.array([3.0, 1.0, 2.0]), np.array([0.1, 0.2, 0.3])
    found = list(candidates(returns, surprise, drawn(), first=1))
    best, worst, surprising, random = (found[turn::4] for turn in range(4))
    assert best == [(0, "best"), (2, "best"), (1, "best")]
    assert worst == [(1, "worst"), (2, "worst"), (0, "worst")]
    assert surprising == [(2, "surprising"), (1, "surprising"), (0, "surprising")]
    assert sorted(random) == [(0, "random"), (1, "random"), (2, "random")]


def test_the_best_the_worst_the_most_surprising_and_random_ones_are_kept() -> None:
    policy = stir(numbers_policy(inputs=2, actions=3), scale=1.0)
    rollout = rollout_of(policy)
    episodes = recorder(policy).pick(7, rollout, rollout.values)
    by_reason = {
        reason: [e for e in episodes if reason in e.selection.reasons]
        for reason in ("random", "best", "worst", "surprising")
    }
    assert [e.return_ for e in by_reason["best"]] == [38.0, 39.0]
    assert [e.return_ for e in by_reason["worst"]] == [0.0, 1.0]
    least = sorted(
        min(rollout.logprobs[rollout.columns == column].tolist()) for column in range(40)
    )
    kept = sorted(min(step.logprob for step in e.steps) for e in by_reason["surprising"])
    assert kept == pytest.approx(least[:2])
    assert len(by_reason["random"]) == 2
    assert len({e.episode_id for e in episodes}) == len(episodes)
    for episode in episodes:
        assert (episode.stage, episode.split, episode.iteration) == ("ppo", "train", 7)
        assert episode.kind == f"kind {int(episode.return_) % 2}"
        assert (episode.selection.num_episodes, episode.selection.mean_return) == (40, 19.5)


def test_a_kept_episode_says_what_was_seen_done_and_learnt_from() -> None:
    policy = stir(numbers_policy(inputs=2, actions=3), scale=1.0)
    reference = Reference(policy)
    stir(policy, seed=1)
    method = DecisionMethod(policy, reference)
    rollout, _ = method.judge(rollout_of(policy), 0.0)
    advantages = torch.arange(len(rollout)).float()
    for episode in recorder(policy, reference=reference).pick(0, rollout, advantages):
        column = int(episode.return_)  # what `Paying` pays is the plan's number
        places = (rollout.columns == column).nonzero().squeeze(-1).tolist()
        assert episode.terminated
        assert episode.final_value is None
        for number, (step, place) in enumerate(zip(episode.steps, places, strict=True)):
            # The environment has written over its array since.
            expected = pytest.approx([column / 100, number / 10])
            assert step.observation["observation"] == expected
            assert step.action == rollout.actions[place]
            assert step.probabilities == pytest.approx(rollout.stored[place].exp().tolist())
            assert step.value == pytest.approx(float(rollout.values[place]))
            assert step.advantage == place
            ours, theirs = (
                policy.rebuild(stored[place : place + 1])
                for stored in (rollout.stored, rollout.ref_stored)
            )
            assert step.kl == pytest.approx(float(ours.kl(theirs)))
            assert step.reference_probabilities == pytest.approx(theirs.stored.exp()[0].tolist())


def test_what_is_kept_of_one_iteration_is_the_same_every_time_and_differs_from_the_next() -> None:
    policy = numbers_policy(inputs=2, actions=3)
    rollout = rollout_of(policy)

    def names(iteration: int) -> set[int]:
        picked = recorder(policy).pick(iteration, rollout, rollout.values)
        return {int(e.return_) for e in picked if "random" in e.selection.reasons}

    assert names(4) == names(4)
    assert len({frozenset(names(iteration)) for iteration in range(5)}) > 1


def test_no_more_than_a_share_of_all_steps_is_kept_and_every_reason_gets_its_turn() -> None:
    policy = numbers_policy(inputs=2, actions=3)
    made = recorder(policy, credit=0.0)
    kept, seen = [], 0
    for iteration in range(60):
        rollout = rollout_of(policy, count=40)
        seen += len(rollout)
        kept += made.pick(iteration, rollout, rollout.values)
        assert sum(len(e.steps) for e in kept) <= MAX_SHARE * seen + 2  # one whole episode ahead
    assert sum(len(e.steps) for e in kept) > 0.8 * MAX_SHARE * seen
    reasons = {reason for e in kept for reason in e.selection.reasons}
    assert reasons == {"random", "best", "worst", "surprising"}


def test_an_episode_that_several_rollouts_hold_is_put_together_again() -> None:
    policy = stir(numbers_policy())
    made = recorder(policy, count=9, whole=False)
    collector = StepCollector(policy, counters(2, length=5), lambda n: EpisodePlan(2 * n))
    collector.restart(0)
    kept, values = [], {}
    for iteration in range(6):
        rollout = collector.collect(2, drawn(iteration))
        for seen, value in zip(rollout.batch.numbers[:, 0], rollout.values, strict=True):
            values[round(100 * float(seen))] = float(value)
        kept += made.pick(iteration, rollout, rollout.values)
        waiting = [piece for part in made._unfinished.values() for piece in part.pieces]
        assert not any(len(piece.rollout.batch.numbers) for piece in waiting)
    # 12 steps in each of 2 slots hold 2 whole episodes of 5 steps and part of a third.
    assert sorted(e.iteration for e in kept) == [2, 2, 4, 4]
    for episode in kept:
        shown = [round(100 * step.observation["observation"][0]) for step in episode.steps]
        assert shown == list(range(shown[0], shown[0] + 5))
        assert shown[0] % 20 == 0  # the start of a plan's episode
        assert [step.value for step in episode.steps] == pytest.approx([values[x] for x in shown])
        assert [step.reward for step in episode.steps] == [1, 2, 3, 4, 5]


def test_an_episode_of_which_a_rollout_is_missing_is_left_out() -> None:
    policy = stir(numbers_policy())
    made = recorder(policy, count=9, whole=False)
    collector = StepCollector(policy, counters(1, length=5), lambda n: EpisodePlan(2 * n))
    collector.restart(0)
    rollouts = [collector.collect(2, drawn(i)) for i in range(5)]
    kept = [e for i in (0, 2, 3, 4) for e in made.pick(i, rollouts[i], rollouts[i].values)]
    assert [round(100 * e.steps[0].observation["observation"][0]) for e in kept] == [20]


def test_a_cut_episode_tells_the_value_of_what_came_next() -> None:
    policy = stir(numbers_policy())
    plans = [EpisodePlan(3)]  # odd: cut after three steps
    rollout = collect_episodes(policy, EnvSlots(Counter, 1), plans, drawn())
    (episode,) = recorder(policy).pick(0, rollout, rollout.values)
    after = policy.evaluate(policy.encode([np.array([0.33], np.float32)])).values
    assert not episode.terminated
    assert episode.final_value == pytest.approx(float(after[0]))


def test_an_episode_tells_what_the_components_of_its_reward_counted_for_then() -> None:
    class Weighted(Paying):
        def __init__(self) -> None:
            super().__init__()
            falling = {"name": "pay", "weight": {"from": 1.0, "to": 0.5, "over": 1.0}}
            self.reward = WeightedReward({"pay": lambda: 0.0}, [falling], ())

    policy = numbers_policy(inputs=2, actions=3)
    slots = EnvSlots(Weighted, 2)
    slots.set_reward_phase(0.5, {})
    rollout = collect_episodes(policy, slots, [EpisodePlan(1)], drawn())
    made = TrainingEpisodes(slots, DecisionMethod(policy, None).told, 1, 0, {})
    assert [e.weights for e in made.pick(0, rollout, rollout.values)] == [{"pay": 0.75}]
    assert [e.weights for e in recorder(policy).pick(0, rollout, rollout.values)] == [None]


def test_a_row_in_the_info_means_nothing_where_the_task_has_no_rows() -> None:
    class Grid(Paying):
        def step(self, action: Any) -> Any:
            *answer, info = super().step(action)
            return *answer, {**info, "row": self.steps}  # where it stands

    policy = numbers_policy(inputs=2, actions=3)
    rollout = rollout_of(policy, env=Grid)
    assert {e.row for e in recorder(policy).pick(0, rollout, rollout.values)} == {None}


def test_a_picture_is_named_by_its_shape_and_a_flat_mask_of_factors_names_nothing() -> None:
    class Seeing(Paying):
        observation_space = spaces.Box(0, 255, (80, 80), np.uint8)
        action_space = spaces.MultiDiscrete([2, 3])

        def reset(self, **options: Any) -> Any:
            super().reset(**options)
            return np.zeros((80, 80), np.uint8), {"action_mask": np.array([1, 0, 1, 1, 1], np.int8)}

        def step(self, action: Any) -> Any:
            super().step(action)
            return np.zeros((80, 80), np.uint8), 1.0, True, False, {}

        def action_name(self, action: Any) -> str:
            return f"{action[0]} and {action[1]}"

    policy = policy_of(Seeing.observation_space, Seeing.action_space)
    plans = [EpisodePlan(number) for number in range(3)]
    slots = EnvSlots(Seeing, 1)
    rollout = collect_episodes(policy, slots, plans, drawn())
    made = TrainingEpisodes(slots, DecisionMethod(policy, None).told, 1, 0, {})
    for episode in made.pick(0, rollout, rollout.values):
        (step,) = episode.steps
        assert step.observation == {"observation": "80 x 80 numbers, left out"}
        assert step.legal_actions is step.legal_names is None
        assert step.action_name == "{} and {}".format(*step.action)


def test_what_cannot_be_written_down_is_the_environments_fault_and_names_it() -> None:
    class Odd(Paying):
        def step(self, action: Any) -> Any:
            *answer, info = super().step(action)
            return *answer, {**info, "expert_action": {1, 2}}

    policy = numbers_policy(inputs=2, actions=3)
    rollout = rollout_of(policy, env=Odd)
    with pytest.raises(EnvironmentFault, match=r"cannot be written down: TypeError.*set"):
        recorder(policy).pick(0, rollout, rollout.values)


def test_an_episode_that_cannot_be_kept_does_not_end_the_training(
    caplog: pytest.LogCaptureFixture,
) -> None:
    policy = numbers_policy(inputs=2, actions=3)
    written: list[Any] = []
    experiment = SimpleNamespace(
        seed=0,
        logging=SimpleNamespace(training_episodes=1),
        ppo=SimpleNamespace(rollout="episodes"),
    )
    world = SimpleNamespace(train=EnvSlots(Paying, 1))
    session = SimpleNamespace(log_episodes=lambda name, episodes: written.append(list(episodes)))
    keeper = EpisodeKeeper(experiment, world, session)  # type: ignore[arg-type]

    class Failing(DecisionMethod):
        def told(self, rollout: Any, advantages: Any) -> Any:
            raise EnvironmentFault("its name is no text")

    rollout = rollout_of(policy)
    keep = keeper.rollout_keeper(Failing(policy, None), {})
    keep(4, rollout, rollout.values)
    assert written == [[]]
    assert "no episode of iteration 4 is kept: its name is no text" in caplog.text


def test_of_several_factors_each_has_its_own_probabilities() -> None:
    class Factors(Paying):
        action_space = spaces.MultiDiscrete([2, 3])

        def reset(self, **options: Any) -> Any:
            return super().reset(**options)[0], {}

        def step(self, action: Any) -> Any:
            *answer, info = super().step(action)
            return *answer, {"reward_components": info["reward_components"]}

    policy = stir(policy_of(Factors.observation_space, Factors.action_space), scale=1.0)
    reference = Reference(policy)
    method = DecisionMethod(policy, reference)
    rollout, _ = method.judge(rollout_of(policy, env=Factors), 0.0)
    for episode in recorder(policy, reference=reference).pick(0, rollout, rollout.values):
        for step in episode.steps:
            assert [len(factor) for factor in step.factor_probabilities] == [2, 3]
            assert [sum(factor) for factor in step.factor_probabilities] == pytest.approx([1, 1])
            same = [f for factor in step.reference_factor_probabilities for f in factor]
            assert same == pytest.approx(
                [f for factor in step.factor_probabilities for f in factor]
            )
            chosen = [p[a] for p, a in zip(step.factor_probabilities, step.action, strict=True)]
            assert np.prod(chosen) == pytest.approx(np.exp(step.logprob), rel=1e-4)


def test_probe_episodes_are_all_of_a_rollout_under_their_label() -> None:
    policy = numbers_policy(inputs=2, actions=3)
    rollout = rollout_of(policy, count=5)
    label = Label("policy", "probe", 3, "sft", 2)
    told = DecisionMethod(policy, None).told
    episodes = probe_episodes(EnvSlots(Paying, 1), told, rollout.of([0, 4]), [0, 2, 4], label)
    assert [e.return_ for e in episodes] == [0.0, 4.0]  # that of column 2 was dropped
    assert [e.episode_id for e in episodes] == ["probe-policy-0", "probe-policy-2"]
    assert {(e.stage, e.iteration, e.seed, e.selection) for e in episodes} == {("sft", 2, 3, None)}


def test_probe_rows_with_many_steps_are_fewer_and_never_none() -> None:
    policy = numbers_policy()
    told, label = DecisionMethod(policy, None).told, Label("policy", "probe", 0)

    def kept(length: int) -> list[int]:
        plans = [EpisodePlan(number) for number in range(4)]
        rollout = collect_episodes(policy, counters(2, length=length), plans, None)
        episodes = probe_episodes(counters(1), told, rollout, range(4), label)
        return [len(episode.steps) for episode in episodes]

    assert kept(50) == [50] * 4
    assert kept(51) == [51] * 3
    assert kept(300) == [300]


def test_a_part_of_a_rollout_has_the_episodes_of_its_columns_alone() -> None:
    rollout = rollout_of(numbers_policy(inputs=2, actions=3), count=6)
    part = rollout.of([1, 5])
    assert part.episode_returns.tolist() == [1.0, 5.0]
    assert sorted(part.columns.tolist()) == [1, 1, 5, 5]
    assert [t.slot.column for t in part.transitions] == part.columns.tolist()
