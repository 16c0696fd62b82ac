"""Rollouts: every transition once, each next value that of the observation which came next."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from toys import Counter, Numbered, counters, numbers_policy, stir

from strategy_rl.actors import RandomActor
from strategy_rl.advantages import compute_gae
from strategy_rl.assembly import ppo_plan
from strategy_rl.collector import StepCollector, collect_episodes
from strategy_rl.env import EnvSlots, make_slots
from strategy_rl.evaluation import greedy_return, plan_split
from strategy_rl.reward_checks import reward_spread
from strategy_rl.rollout import DecisionRollout, EpisodePlan


def drawn(seed=0):
    return np.random.default_rng(seed)


def plans(*seeds):
    return [EpisodePlan(seed) for seed in seeds]


@pytest.fixture(scope="module")
def policy():
    return stir(numbers_policy())


def counts_of(rollout):
    """What `Counter` showed at each decision."""
    return (100 * rollout.batch.numbers[:, 0]).round()


def values_of(policy, counts):
    batch = policy.encode([np.array([count / 100], np.float32) for count in counts.tolist()])
    return policy.evaluate(batch).values


# Whole episodes.


@pytest.mark.parametrize("num_slots", [1, 2, 3, 8])
def test_every_planned_episode_is_played_to_its_end_in_a_column_of_its_own(policy, num_slots):
    rollout = collect_episodes(policy, counters(num_slots), plans(4, 1, 2, 5, 7), drawn())
    assert len(rollout) == 15 == rollout.episode_lengths.sum()
    assert rollout.episode_returns.tolist() == [6.0] * 5
    for column, seed in enumerate((4, 1, 2, 5, 7)):
        mine = rollout.columns == column
        assert rollout.steps[mine].tolist() == [0, 1, 2]
        assert counts_of(rollout)[mine].tolist() == [10 * seed + step for step in range(3)]
        assert rollout.rewards[mine].tolist() == [1, 2, 3]
        ends = rollout.terminations[mine] | rollout.truncations[mine]
        assert ends.tolist() == [False, False, True]
        assert rollout.terminations[mine][-1] == (seed % 2 == 0)


def test_next_values_are_of_the_final_observation_at_a_truncation_and_0_at_a_termination(policy):
    rollout = collect_episodes(policy, counters(2), plans(2, 3, 5), drawn())
    expected = values_of(policy, counts_of(rollout) + 1)
    expected[rollout.terminations] = 0.0
    torch.testing.assert_close(rollout.next_values, expected)
    cut = rollout.truncations
    assert counts_of(rollout)[cut].tolist() == [32, 52]  # so the values are of 33 and 53
    final, reset = values_of(policy, torch.tensor([33.0, 50.0]))
    assert (final - reset).abs() > 0.01  # so that a mix-up would show


def test_the_number_of_environments_does_not_change_a_greedy_rollout(policy):
    def rollout(num_slots):
        found = collect_episodes(policy, counters(num_slots), plans(4, 1, 2, 5, 7), None)
        order = torch.argsort(found.columns * 10 + found.steps)
        return (counts_of(found)[order], found.actions[order], found.next_values[order])

    for one, other in zip(rollout(1), rollout(4), strict=True):
        torch.testing.assert_close(one, other)


def test_a_mask_in_the_info_rules_what_is_sampled(policy):
    rollout = collect_episodes(policy, counters(3), plans(*range(30)), drawn())
    assert rollout.actions.tolist() == (rollout.steps % 2).tolist()  # Counter's one legal action
    assert not rollout.logprobs.any()  # of probability 1


def test_environments_side_by_side_draw_their_actions_apart():
    slots = EnvSlots(Numbered, 200)
    rollout = collect_episodes(numbers_policy(), slots, plans(*range(200)), drawn())
    assert rollout.actions.float().mean() == pytest.approx(0.5, abs=0.1)
    again = collect_episodes(numbers_policy(), slots, plans(*range(200)), drawn())
    other = collect_episodes(numbers_policy(), slots, plans(*range(200)), drawn(1))
    assert again.actions.equal(rollout.actions)
    assert not other.actions.equal(rollout.actions)


def test_what_a_rollout_stores_is_the_distribution_that_was_drawn_from():
    policy = stir(numbers_policy(inputs=4))
    slots = make_slots("CartPole-v1", {}, 4)
    rollout = collect_episodes(policy, slots, plans(*range(12)), drawn())
    with torch.enable_grad():
        distribution, values = policy(rollout.batch)
    torch.testing.assert_close(distribution.log_prob(rollout.actions), rollout.logprobs)
    torch.testing.assert_close(policy.rebuild(rollout.stored).log_prob(rollout.actions),
                               rollout.logprobs)  # fmt: skip
    torch.testing.assert_close(values, rollout.values)
    assert not rollout.logprobs.requires_grad
    assert 0.2 < rollout.actions.float().mean() < 0.8


def test_with_a_third_party_environment_transitions_are_the_sum_of_episode_lengths():
    """CartPole's own vector form resets by itself, with steps that are no transitions."""
    slots = make_slots("CartPole-v1", {}, 4)
    policy = numbers_policy(inputs=4)
    rollout = collect_episodes(policy, slots, plans(*range(10)), drawn())
    assert len(rollout) == rollout.episode_lengths.sum() == rollout.rewards.sum()
    assert rollout.terminations.sum() == 10
    collector = StepCollector(policy, slots, lambda n: EpisodePlan(n))
    collector.restart(0)
    several = [collector.collect(40, drawn(i)) for i in range(5)]
    ended = sum(r.episode_lengths.sum() for r in several)
    assert sum(map(len, several)) == 5 * 40 * 4
    assert 0 <= 5 * 40 * 4 - ended < 4 * 500  # the rest is under way
    assert sum(int(r.terminations.sum()) for r in several) == sum(
        len(r.episode_lengths) for r in several
    )


def test_components_are_means_over_the_episodes(policy):
    rollout = collect_episodes(policy, counters(2), plans(0, 1), drawn())
    assert rollout.components == {"base": 6.0, "seed": 0.0}


def test_the_advantages_of_a_rollout_are_those_of_its_grid(policy):
    rollout = collect_episodes(policy, counters(2), plans(2, 3, 5), drawn())
    advantages, returns = rollout.advantages(0.9, 0.8, reward_scale=2.0)
    for column in range(3):
        mine = rollout.columns == column
        parts = (2 * rollout.rewards, rollout.values, rollout.next_values, rollout.terminations,
                 rollout.truncations)  # fmt: skip
        alone = compute_gae(*(x[mine][:, None] for x in parts), 0.9, 0.8)
        torch.testing.assert_close(advantages[mine], alone.advantages[:, 0])
        torch.testing.assert_close(returns[mine], alone.returns[:, 0])


# Fixed lengths.


def test_what_a_fixed_length_cuts_bootstraps_from_the_observation_that_comes_next(policy):
    collector = StepCollector(policy, counters(2, length=5), lambda number: EpisodePlan(number))
    collector.restart(2)
    first = collector.collect(3, drawn())
    assert counts_of(first)[first.columns == 1].tolist() == [30, 31, 32]
    assert not (first.terminations | first.truncations).any()
    torch.testing.assert_close(first.next_values, values_of(policy, counts_of(first) + 1))
    assert first.episode_returns.tolist() == []

    second = collector.collect(4, drawn())  # goes on, ends at 5 steps, begins the next episodes
    assert counts_of(second)[second.columns == 0].tolist() == [23, 24, 40, 41]
    assert counts_of(second)[second.columns == 1].tolist() == [33, 34, 50, 51]
    assert second.steps[second.columns == 0].tolist() == [0, 1, 2, 3]
    expected = values_of(policy, counts_of(second) + 1)
    expected[second.terminations] = 0.0
    torch.testing.assert_close(second.next_values, expected)
    assert second.terminations.nonzero().flatten().tolist() == [2]  # 24, the even seed
    assert second.truncations.nonzero().flatten().tolist() == [3]  # 34, not the cut
    assert second.episode_returns.tolist() == [15.0, 15.0]  # whole, over both rollouts
    assert second.episode_lengths.tolist() == [5, 5]
    assert collector.next_episode == 6


def test_an_episode_that_ends_at_the_cut_is_not_bootstrapped_from_the_next_one(policy):
    collector = StepCollector(policy, counters(2, length=3), lambda number: EpisodePlan(number))
    collector.restart(2)
    rollout = collector.collect(3, drawn())
    last = rollout.steps == 2
    assert rollout.terminations[last].tolist() == [True, False]
    assert rollout.truncations[last].tolist() == [False, True]
    of_the_end = values_of(policy, torch.tensor([33.0]))
    torch.testing.assert_close(rollout.next_values[last], torch.cat([torch.zeros(1), of_the_end]))


def test_a_restart_begins_every_slot_anew(policy):
    collector = StepCollector(policy, counters(2, length=5), lambda number: EpisodePlan(number))
    assert not collector.is_started
    collector.restart(0)
    collector.collect(2, drawn())
    collector.restart(collector.next_episode)
    assert counts_of(collector.collect(1, drawn())).tolist() == [20, 30]


# What is planned.


def test_rows_are_all_played_once_before_any_is_played_again():
    plan = ppo_plan([3, 5, 8, 9], seed=0)
    played = [plan(number) for number in range(12)]
    for epoch in range(3):
        assert sorted(p.row for p in played[4 * epoch : 4 * epoch + 4]) == [3, 5, 8, 9]
    assert len({p.seed for p in played}) == 12
    assert plan(1) == played[1]  # going back gives the same
    assert [ppo_plan([3, 5, 8, 9], seed=1)(n).row for n in range(4)] != [p.row for p in played[:4]]


def test_a_split_is_planned_whole_or_evenly_thinned():
    slots = make_slots("strategy_rl_envs:strategy_rl/TinyReply-v0", {"num_rows": 10}, 2)
    assert [p.row for p in plan_split(slots, 0, "test", None)] == list(range(10))
    assert [p.row for p in plan_split(slots, 0, "test", 5)] == [0, 2, 4, 6, 8]
    assert [p.row for p in plan_split(slots, 0, "test", 99)] == list(range(10))
    assert [p.row for p in plan_split(counters(1), 0, "test", None, 3)] == [None] * 3


def test_the_greedy_return_is_the_mean_over_the_plans(policy):
    assert greedy_return(policy, counters(2), plans(0, 1, 2)) == 6.0


def test_where_sampling_changes_no_reward_the_spread_says_so(policy):
    spread, values = reward_spread(policy, counters(4), plans(0, 2), drawn(), repeats=3)
    assert values == {}
    assert spread == {
        "rollout/reward_spread_mean": 0.0,
        "rollout/reward_spread_zero_share": 1.0,
    }
    bandit = make_slots("strategy_rl_envs:strategy_rl/ProbeAction-v0", {}, 4)
    spread, _ = reward_spread(policy, bandit, plans(*range(8)), drawn(), repeats=32)
    assert spread["rollout/reward_spread_mean"] > 0.5  # of -1 and +1
    assert spread["rollout/reward_spread_zero_share"] == 0.0


def test_the_random_rival_heeds_a_mask_wherever_it_stands():
    class Mapped(Counter):
        def observe(self):
            obs, info = super().observe()
            return {"count": obs}, info

    for env in (Counter(), Mapped()):
        slots = EnvSlots(lambda env=env: env, 1)
        obs, info = slots.reset([0], [0], [None])[0]
        for draws in (info, {"action_mask": info["action_mask"].astype(bool)}):
            actor = RandomActor(slots.action_space)
            assert {actor.act([obs], [draws], drawn(i))[0].action for i in range(20)} == {0}


def test_the_random_rival_picks_among_what_is_offered_where_there_is_no_mask():
    actor = RandomActor(spaces.Discrete(6), num_special=1)
    obs = {"candidates": ("a", "b")}
    drawn_actions = {actor.act([obs], [{}], drawn(i))[0].action for i in range(60)}
    assert drawn_actions == {0, 1, 5}


def test_discounted_rewards_run_through_an_episode_and_start_anew_after_it():
    rollout = DecisionRollout(
        batch=None,
        actions=torch.zeros(5),
        stored=torch.zeros(5, 1),
        logprobs=torch.zeros(5),
        values=torch.full((5,), 99.0),
        next_values=torch.full((5,), 99.0),
        rewards=torch.tensor([1.0, 10.0, 2.0, 4.0, 8.0]),
        terminations=torch.tensor([False, False, False, False, False]),
        truncations=torch.tensor([False, False, True, False, False]),
        steps=torch.tensor([0, 0, 1, 1, 2]),
        columns=torch.tensor([0, 1, 0, 1, 0]),
        components={},
        episode_returns=np.array([]),
        episode_lengths=np.array([]),
        episode_columns=np.array([]),
        reward_values={},
        dropped={},
    )
    # Column 0: 1, then 2 + 1/2 and cut there, then 8. Column 1: 10, then 4 + 5.
    assert rollout.discounted_rewards(0.5).tolist() == [1.0, 10.0, 2.5, 9.0, 8.0]
