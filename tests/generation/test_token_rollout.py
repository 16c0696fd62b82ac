"""Steps of an environment spread over the tokens of their texts; worked by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from strategy_rl.collector import StepCollector, collect_episodes
from strategy_rl.env import EnvSlots
from strategy_rl.evaluation import Label
from strategy_rl.generation import Response, TextPolicy
from strategy_rl.recording import CREDIT, TrainingEpisodes, probe_episodes
from strategy_rl.rollout import EpisodePlan
from strategy_rl.token_rollout import TokenRollout
from strategy_rl.token_updates import TokenMethod, TokenReference
from strategy_rl_envs.kit.text import UnicodeText
from tests.generation.writers import END, gpt2, text_policy

TURNS = [[2, 3, END], [6, END], [5, 6, 7, 2]]  # a b | e | d e f a, cut at the limit
PROMPTS = ["a", "ab", "abc"]
REWARDS = [0.5, -0.25, 2.0]


class Talk(gym.Env[str, str]):
    """Some turns, paid one by one; the last ends the episode, or cuts it."""

    num_rows = 8

    def __init__(self, turns: int = 3, *, cut: bool = False, fails_at: int | None = None) -> None:
        self.turns, self.cut, self.fails_at = turns, cut, fails_at
        self.observation_space = UnicodeText(50)
        self.action_space = UnicodeText(50)

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.row, self.turn = (options or {}).get("row", 0), 0
        return PROMPTS[0], {"row": self.row}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        reward, self.turn = REWARDS[self.turn], self.turn + 1
        last = self.turn == self.turns
        info: dict[str, Any] = {"reward_components": {"pay": reward}}
        if self.row == self.fails_at:
            info["reward_dropped"] = "the judge was away"
        ended = last and not self.cut
        return PROMPTS[self.turn % 3], reward, ended, last and self.cut, info


@pytest.fixture
def policy(monkeypatch: pytest.MonkeyPatch) -> TextPolicy:
    """It writes the turns of `TURNS`, told apart by the length of the prompt; its values differ."""
    policy = text_policy(max_new_tokens=4, network=gpt2(10))  # it tells places apart
    with torch.no_grad():
        for parameter in policy.network.parameters():
            parameter += torch.linspace(-0.5, 0.5, parameter.numel()).reshape(parameter.shape)

    def generate(prompts: Any, uniforms: Any) -> list[Response]:
        given = [TURNS[len(prompt) - 1] for prompt in prompts]
        written = [Response(p, t, ended=t[-1] == END) for p, t in zip(prompts, given, strict=True)]
        return [
            Response(r.prompt, r.response, ended=r.ended, logprobs=policy.evaluate([r]).logprobs)
            for r in written
        ]

    monkeypatch.setattr(policy, "generate", generate)
    return policy


def collect(policy: TextPolicy, env: Any, rows: int = 2, slots: int = 2) -> TokenRollout:
    plans = [EpisodePlan(i, i) for i in range(rows)]
    return collect_episodes(policy, EnvSlots(env, slots), plans, np.random.default_rng(0))


def gae(
    rewards: list[float], values: list[float], after: float, gamma: float, lam: float
) -> list[float]:
    """The textbook's sum over one episode of tokens."""
    advantages, following = [0.0] * len(rewards), 0.0
    for t in reversed(range(len(rewards))):
        next_value = values[t + 1] if t + 1 < len(values) else after
        following = rewards[t] + gamma * next_value - values[t] + gamma * lam * following
        advantages[t] = following
    return advantages


def test_rewards_and_ends_belong_to_the_last_token_of_each_response(policy: TextPolicy) -> None:
    rollout = collect(policy, Talk, rows=2)

    # Turn by turn, each for both episodes: 3 + 3, then 2 + 2, then 4 + 4 tokens.
    assert [list(r.response) for r in rollout.responses] == [t for t in TURNS for _ in range(2)]
    assert rollout.owners.tolist() == [0] * 3 + [1] * 3 + [2] * 2 + [3] * 2 + [4] * 4 + [5] * 4
    expected = [0, 0, 0.5] * 2 + [0, -0.25] * 2 + [0, 0, 0, 2.0] * 2
    assert rollout.rewards.tolist() == expected
    ends = [False] * 10 + [False, False, False, True] * 2
    assert rollout.terminations.tolist() == ends
    assert not rollout.truncations.any()
    assert rollout.columns.tolist() == [0] * 3 + [1] * 3 + [0] * 2 + [1] * 2 + [0] * 4 + [1] * 4
    places = [0, 1, 2] * 2 + [3, 4] * 2 + [5, 6, 7, 8] * 2
    assert rollout.steps.tolist() == places  # prompts of later turns are no decisions
    assert rollout.last_tokens.tolist() == [2, 5, 7, 9, 13, 17]
    assert rollout.episode_returns.tolist() == [2.25, 2.25]
    assert rollout.episode_lengths.tolist() == [3, 3]
    assert rollout.components == {"pay": 2.25}


def test_advantages_run_over_the_tokens_of_all_turns_of_an_episode(policy: TextPolicy) -> None:
    rollout = collect(policy, Talk, rows=2)
    mine = (rollout.columns == 1).nonzero().squeeze(-1)
    values = rollout.values[mine].tolist()
    assert len(set(values)) == 9

    advantages, returns = rollout.advantages(0.9, 0.8)

    rewards = [0, 0, 0.5, 0, -0.25, 0, 0, 0, 2.0]
    by_hand = gae(rewards, values, 0.0, 0.9, 0.8)
    assert advantages[mine].tolist() == pytest.approx(by_hand, abs=1e-5)
    assert torch.allclose(returns, advantages + rollout.values)


def test_the_last_token_of_a_turn_is_followed_by_the_first_of_the_next(policy: TextPolicy) -> None:
    rollout = collect(policy, Talk, rows=1)

    expected = [*rollout.values[1:].tolist(), 0.0]
    assert rollout.next_values.tolist() == pytest.approx(expected)


def test_a_cut_episode_goes_on_with_the_value_of_the_next_prompt(policy: TextPolicy) -> None:
    rollout = collect(policy, lambda: Talk(2, cut=True), rows=2)
    following = policy.first_values(policy.encode([PROMPTS[2]]))[0]
    assert abs(float(following)) > 1e-3

    assert rollout.truncations.nonzero().squeeze(-1).tolist() == [7, 9]
    assert not rollout.terminations.any()
    assert torch.allclose(rollout.next_values[[7, 9]], following, atol=1e-5)
    mine = (rollout.columns == 0).nonzero().squeeze(-1)
    by_hand = gae([0, 0, 0.5, 0, -0.25], rollout.values[mine].tolist(), float(following), 0.9, 0.8)
    ours = rollout.advantages(0.9, 0.8).advantages[mine].tolist()
    assert ours == pytest.approx(by_hand, abs=1e-5)


def test_a_rollout_of_fixed_length_goes_on_with_the_value_of_what_comes(
    policy: TextPolicy,
) -> None:
    collector = StepCollector(policy, EnvSlots(Talk, 1), lambda number: EpisodePlan(number, 0))
    collector.restart(0)

    rollout = collector.collect(2, np.random.default_rng(0))

    assert isinstance(rollout, TokenRollout)
    assert [list(r.response) for r in rollout.responses] == TURNS[:2]
    following = policy.first_values(policy.encode([PROMPTS[2]]))[0]
    assert float(rollout.next_values[-1]) == pytest.approx(float(following), abs=1e-5)
    after = collector.collect(2, np.random.default_rng(0))  # the third turn, a new episode's first
    assert isinstance(after, TokenRollout)
    assert after.steps.tolist() == list(range(7))
    assert after.terminations.tolist() == [False] * 3 + [True] + [False] * 3
    assert float(after.next_values[3]) == 0


def test_more_episodes_than_slots_keep_their_columns(policy: TextPolicy) -> None:
    rollout = collect(policy, Talk, rows=5, slots=2)

    assert len(rollout.responses) == 15
    for column in range(5):
        mine = rollout.columns == column
        assert rollout.steps[mine].tolist() == list(range(9))
        assert rollout.rewards[mine].tolist() == [0, 0, 0.5, 0, -0.25, 0, 0, 0, 2.0]


def test_dropped_episodes_leave_whole(policy: TextPolicy) -> None:
    rollout = collect(policy, lambda: Talk(fails_at=1), rows=3, slots=3)
    whole = collect(policy, Talk, rows=3, slots=3)
    kept = whole.columns != 1

    assert rollout.dropped == {1: "the judge was away"}
    assert len(rollout) == 18
    assert set(rollout.columns.tolist()) == {0, 2}
    assert rollout.episode_returns.tolist() == [2.25, 2.25]
    assert [list(r.response) for r in rollout.responses] == [t for t in TURNS for _ in range(2)]
    assert rollout.owners.tolist() == [0] * 3 + [1] * 3 + [2] * 2 + [3] * 2 + [4] * 4 + [5] * 4
    assert rollout.last_tokens.tolist() == [2, 5, 7, 9, 13, 17]
    for name in ("logprobs", "values", "next_values", "rewards", "terminations", "weights"):
        assert torch.equal(getattr(rollout, name), getattr(whole, name)[kept])
    ours, theirs = rollout.advantages(0.9, 0.8), whole.advantages(0.9, 0.8)
    assert torch.equal(ours.advantages, theirs.advantages[kept])


def test_logprobs_are_those_of_each_token_in_order(policy: TextPolicy) -> None:
    rollout = collect(policy, Talk)

    assert torch.allclose(rollout.logprobs, policy.evaluate(rollout.responses).logprobs, atol=1e-5)


def test_figures_tell_lengths_ends_and_pairs(policy: TextPolicy) -> None:
    figures = collect(policy, Talk, rows=1).figures()

    assert figures["rollout/response_tokens_mean"] == 3
    assert figures["rollout/response_tokens_std"] == pytest.approx((2 / 3) ** 0.5)
    assert figures["rollout/ended_share"] == pytest.approx(2 / 3)
    assert figures["rollout/distinct_2"] == 1


def test_prompts_that_are_too_long_are_counted_in_their_own_rollout(policy: TextPolicy) -> None:
    policy.prompts.form = replace(policy.prompts.form, max_tokens=2)

    first, second = (
        collect(policy, Talk, rows=2),
        collect(policy, Talk, rows=1),
    )  # of 3 prompts each

    assert first.figures()["rollout/prompts_cut"] == 2
    assert second.figures()["rollout/prompts_cut"] == 1


def test_a_kept_text_has_all_its_tokens_with_what_was_learnt_from_them(policy: TextPolicy) -> None:
    reference = TokenReference(policy)
    reference.weights = {k: 0.9 * v for k, v in reference.weights.items()}
    method = TokenMethod(policy, reference, 2)
    rollout, _ = method.judge(collect(policy, Talk, rows=3), 0.1)
    advantages = torch.arange(len(rollout)).float()
    recorder = TrainingEpisodes(EnvSlots(Talk, 1), method.told, 3, 0, {CREDIT: 99.0})
    episodes = recorder.pick(0, rollout, advantages)
    assert sorted(e.row or 0 for e in episodes) == [0, 1, 2]
    for episode in episodes:
        assert [step.action for step in episode.steps] == ["ab", "e", "defa"]
        assert [step.reward for step in episode.steps] == REWARDS  # the KL is no part of them
        tokens = [token for step in episode.steps for token in step.tokens or ()]
        texts = [token["text"] for token in tokens]
        assert texts == ["a", "b", "</s>", "e", "</s>", "d", "e", "f", "a"]
        mine = rollout.columns == episode.row
        for name, expected in (
            ("logprob", rollout.logprobs),
            ("reference_logprob", rollout.ref_logprobs),
            ("value", rollout.values),
            ("advantage", advantages),
        ):
            assert expected is not None
            told = [token[name] for token in tokens]
            assert told == pytest.approx(expected[mine].tolist(), abs=1e-5)
        first = [step.tokens[0] for step in episode.steps if step.tokens]
        assert [step.value for step in episode.steps] == pytest.approx(
            [token["value"] for token in first], abs=1e-5
        )
        assert [step.advantage for step in episode.steps] == [t["advantage"] for t in first]
        ratios = [
            sum(t["logprob"] - t["reference_logprob"] for t in step.tokens or ())
            for step in episode.steps
        ]
        assert [step.log_ratio for step in episode.steps] == pytest.approx(ratios, abs=1e-3)


def test_a_text_episode_over_several_rollouts_is_kept_whole(policy: TextPolicy) -> None:
    method = TokenMethod(policy, None, 2)
    recorder = TrainingEpisodes(EnvSlots(Talk, 1), method.told, 9, 0, {CREDIT: 99.0}, whole=False)
    collector = StepCollector(policy, EnvSlots(Talk, 1), lambda n: EpisodePlan(n, n))
    collector.restart(0)
    kept, values = [], []
    for iteration in range(3):  # of two turns each, where an episode has three
        rollout = collector.collect(2, np.random.default_rng(iteration))
        values += rollout.values.tolist()
        kept += recorder.pick(iteration, rollout, rollout.values)
    assert [(e.row, len(e.steps)) for e in kept] == [(0, 3), (1, 3)]
    told = [token["value"] for e in kept for step in e.steps for token in step.tokens or ()]
    assert told == pytest.approx(values, abs=1e-5)


def test_a_rollout_to_be_told_of_later_holds_no_states_of_the_model(policy: TextPolicy) -> None:
    rollout = collect(policy, Talk, rows=2)
    states = [replace(r, states=torch.ones(len(r.response), 10)) for r in rollout.responses]
    bare = replace(rollout, responses=tuple(states)).without_observations()
    assert [r.states for r in bare.responses] == [None] * 6
    assert [r.response for r in bare.responses] == [r.response for r in rollout.responses]


def test_the_most_surprising_text_holds_the_least_likely_token(policy: TextPolicy) -> None:
    rollout = collect(policy, Talk, rows=2)
    least = [float(r.logprobs.min()) for r in rollout.responses if r.logprobs is not None]
    assert rollout.least_logprobs().tolist() == pytest.approx(least)


def test_a_cut_text_episode_tells_the_value_before_the_text_that_would_follow(
    policy: TextPolicy,
) -> None:
    rollout = collect(policy, lambda: Talk(cut=True), rows=1)
    method = TokenMethod(policy, None, 2)
    (episode,) = probe_episodes(
        EnvSlots(Talk, 1), method.told, rollout, [0], Label("policy", "probe", 0)
    )
    expected = float(policy.first_values(policy.encode([PROMPTS[0]]))[0])
    assert episode.final_value == pytest.approx(expected)
    assert (episode.terminated, episode.row) == (False, 0)
