"""PPO on tokens against the closed form of the KL-regularised bandit over whole sequences."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest

from strategy_rl.collector import collect_episodes
from strategy_rl.config import PPOConfig
from strategy_rl.env import EnvSlots
from strategy_rl.generation import Response, TextPolicy
from strategy_rl.ppo import Task, ppo_state, train_ppo
from strategy_rl.rollout import EpisodePlan, Rollout
from strategy_rl.seeding import generator
from strategy_rl.token_updates import TokenMethod, TokenReference
from strategy_rl.training import Silent
from tests.generation.writers import END, Writing, gpt2, text_policy

BETA = 0.5
LETTERS = "ab"
PAYS = {"aa": 1.0, "ab": 0.5}


def sequences(length: int, symbols: int) -> Iterator[list[int]]:
    """Every response there can be: cut at the limit, or ended before it."""
    others = [i for i in range(symbols) if i != END]
    for size in range(length):
        for start in product(others, repeat=size):
            yield [*start, END]
    for whole in product(others, repeat=length):
        yield list(whole)


def probabilities(policy: TextPolicy, prompt: list[int]) -> tuple[list[list[int]], np.ndarray]:
    """Of every sequence, exactly."""
    every = list(sequences(policy.spec.max_new_tokens, len(LETTERS) + 2))
    rows = [Response(prompt, tokens) for tokens in every]
    spoken = policy.evaluate(rows).logprobs.split([len(tokens) for tokens in every])
    return every, np.array([float(part.double().sum().exp()) for part in spoken])


def learn(policy: TextPolicy, slots: EnvSlots, iterations: int = 60) -> None:
    config = PPOConfig(
        iterations=iterations,
        episodes_per_iteration=256,
        epochs=4,
        minibatch_size=128,
        learning_rate=3e-3,
        entropy_coef=0.0,
        kl_coef=BETA,
        vf_coef=0.5,
        evaluate_every=iterations,
        normalize_advantages=False,
    )

    def collect(iteration: int) -> Rollout:
        plans = [EpisodePlan(i, 0) for i in range(256)]
        return collect_episodes(policy, slots, plans, generator(0, "bandit", iteration))

    method = TokenMethod(policy, TokenReference(policy), config.minibatch_size)
    task = Task(collect, validate=lambda: {"return": 0.0}, method=method)
    state = ppo_state(policy, config, backbone_learning_rate=3e-3)
    train_ppo(policy, task, config, seed=0, hooks=Silent(), state=state)


def test_ppo_on_tokens_comes_to_the_closed_form_of_the_regularised_bandit() -> None:
    policy = text_policy(LETTERS, max_new_tokens=2, network=gpt2(len(LETTERS) + 2, seed=3))
    slots = EnvSlots(lambda: Writing(lambda prompt, text: PAYS.get(text, 0.0), ("a",)), 256)
    prompt = policy.encode(["a"])[0]
    every, before = probabilities(policy, prompt)
    assert before.sum() == pytest.approx(1.0, abs=1e-5)
    pays = np.array([PAYS.get(policy.text_of(Response(prompt, t)), 0.0) for t in every])
    weighted = before * np.exp(pays / BETA)
    best, optimum = BETA * math.log(weighted.sum()), weighted / weighted.sum()

    learn(policy, slots)

    _, after = probabilities(policy, prompt)
    reached = float((after * (pays - BETA * np.log(after / before))).sum())
    start = float((before * pays).sum())
    assert best - reached < 0.02 * (best - start)
    assert np.abs(after - optimum).sum() / 2 < 0.05
