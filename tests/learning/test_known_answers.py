"""The probe ladder: each task is learnt to the answer that is known, by the file that is shipped.

A rung that fails says which part is broken; each task's docstring says which.
"""

import dataclasses

import numpy as np
import pytest
import torch
from ladder import EXPERIMENTS, learn

import strategy_rl
from strategy_rl.config import load_experiment
from strategy_rl.stages import Stages
from strategy_rl_envs import TASKS
from strategy_rl_envs.kit.selection import selection_mask
from strategy_rl_envs.probes.candidates import WORDS
from strategy_rl_envs.probes.stopping import OptimalStopping


def number(x):
    return np.array([x], np.float32)


def one_hot(place, size=4):
    return np.eye(size, dtype=np.float32)[place]


def near(*numbers, off=0.05):
    return pytest.approx(list(numbers), abs=off)


def test_every_probe_has_an_experiment():
    tasks = {load_experiment(path).task.id for path in (EXPERIMENTS / "probes").glob("*.yaml")}
    probes = {f"strategy_rl_envs:strategy_rl/{name}-v0" for name in TASKS if "Probe" in name}
    assert tasks == probes


# Values.


def test_one_action_is_worth_its_reward():
    learnt = learn("probes/one_action")
    assert learnt.logs[0]["rollout/value_mean"] == 0.0
    assert learnt.value(number(0)) == pytest.approx(1.0, abs=0.02)


def test_the_value_follows_the_observation():
    learnt = learn("probes/observation")
    assert [learnt.value(number(x)) for x in (-1, 1)] == near(-1.0, 1.0, off=0.02)
    assert learnt.logs[-1]["ppo/explained_variance"] > 0.99


def test_a_reward_is_carried_back_in_time_with_its_discount():
    learnt = learn("probes/delay")
    assert [learnt.value(number(x)) for x in (0, 1)] == near(0.99, 1.0, off=0.005)
    halved = learn("probes/delay", ["ppo.gamma=0.5"])
    assert [halved.value(number(x)) for x in (0, 1)] == near(0.5, 1.0, off=0.01)


@pytest.mark.parametrize("name", ["truncation", "truncation_steps"])
def test_what_is_only_cut_off_goes_on_being_worth_something(name):
    learnt = learn(f"probes/{name}")
    values = [learnt.value(one_hot(state)) for state in range(4)]
    assert values == near(10.0, 10.0, 10.0, 10.0, off=0.1)  # 1 / (1 - 0.9)


def test_the_test_above_would_see_truncations_that_are_taken_for_terminations(monkeypatch):
    from strategy_rl.rollout import Rollout

    advantages = Rollout.advantages

    def mistaken(self, *args, **options):
        ends = self.terminations | self.truncations
        return advantages(dataclasses.replace(self, terminations=ends), *args, **options)

    monkeypatch.setattr(Rollout, "advantages", mistaken)
    learnt = learn("probes/truncation")
    assert max(learnt.value(one_hot(state)) for state in range(4)) < 6


# One decision.


def test_the_better_of_two_actions_is_found():
    learnt = learn("probes/action")
    decision = learnt.policy.act(number(0))
    assert decision.probabilities[1] > 0.97
    assert decision.value == pytest.approx(1.0, abs=0.1)


def test_the_better_action_of_each_observation_is_found():
    learnt = learn("probes/observation_action")
    for bit in (0, 1):
        decision = learnt.policy.act(number(bit))
        assert decision.probabilities[bit] > 0.97
        assert decision.value == pytest.approx(1.0, abs=0.1)


def test_of_the_legal_arms_the_better_one_is_found():
    learnt = learn("probes/mask")
    for low in range(4):
        for high in range(low + 1, 4):
            mask = np.zeros(4, np.int8)
            mask[[low, high]] = 1
            decision = learnt.policy.act({"state": mask.astype(np.float32), "action_mask": mask})
            assert decision.probabilities[high] > 0.9
            assert sum(decision.probabilities[i] for i in (low, high)) == pytest.approx(1.0)
            assert decision.value == pytest.approx(high, abs=0.5)
    assert learnt.greedy(600) == pytest.approx(14 / 6, abs=0.1)
    assert learnt.sampled(600) == pytest.approx(14 / 6, abs=0.15)  # and never the -10


# A penalty for leaving the reference.


@pytest.mark.parametrize(
    ("beta", "optimum", "penalised", "kl"),
    [
        (0.5, (0.24772, 0.02012, 0.73217), 1.35116, 0.72179),
        (1.0, (0.43327, 0.09563, 0.47110), 1.14325, 0.23221),
    ],
)
def test_the_kl_penalty_leads_to_the_tilted_reference(beta, optimum, penalised, kl, monkeypatch):
    monkeypatch.chdir(EXPERIMENTS.parent)  # where the file of demonstrations is named from
    learnt = learn("probes/bandit", [f"ppo.kl_coef={beta}"])
    policy = np.array(learnt.policy.act(number(0)).probabilities)
    reference, paid = np.array([0.5, 0.3, 0.2]), np.array([1.0, 0.0, 2.0])
    assert policy == near(*optimum, off=0.02)
    found = (policy * np.log(policy / reference)).sum()
    assert policy @ paid - beta * found == pytest.approx(penalised, abs=0.004)
    assert learnt.logs[0]["ppo/ref_kl"] < 0.02
    assert learnt.logs[-1]["ppo/ref_kl"] == pytest.approx(kl, abs=0.05)


def test_without_the_penalty_the_best_arm_takes_all(monkeypatch):
    monkeypatch.chdir(EXPERIMENTS.parent)
    learnt = learn("probes/bandit", ["ppo.kl_coef=0"])
    assert learnt.policy.act(number(0)).probabilities[2] > 0.95


def test_the_last_tenth_of_a_file_judges_and_is_not_trained_on(monkeypatch):
    monkeypatch.chdir(EXPERIMENTS.parent)
    stages = Stages(load_experiment(EXPERIMENTS / "probes/bandit.yaml"))
    everything = stages.teaching.raw["file"].encode(stages.policy)
    trained, validation = stages.teaching.with_validation(stages.policy, everything)
    assert (len(everything), len(trained)) == (100, 90)
    assert trained.actions.equal(everything.actions[:90])
    assert validation.demonstrations.actions.equal(everything.actions[90:])
    assert validation.play() in (0.0, 1.0, 2.0)  # the greedy arm's payment


def test_demonstrations_set_the_reference_by_their_frequencies(monkeypatch):
    monkeypatch.chdir(EXPERIMENTS.parent)
    learnt = learn("probes/bandit", ["ppo.iterations=0"])
    assert learnt.policy.act(number(0)).probabilities == near(0.5, 0.3, 0.2, off=0.01)


# Many decisions.


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_one_state_of_four_is_named_after_1280_steps(seed):
    learnt = learn("probes/identity", [f"seed={seed}"])
    assert sum(log["rollout/decisions"] for log in learnt.logs) == 1280
    assert learnt.greedy(20) >= 90


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_one_state_of_70_is_named_after_4096_steps_by_whoever_heeds_the_mask(seed):
    learnt = learn("probes/masked_identity", [f"seed={seed}"])
    assert sum(log["rollout/decisions"] for log in learnt.logs) == 4096
    assert learnt.logs[0]["rollout/return_mean"] == pytest.approx(100 / 15, abs=2)
    assert learnt.greedy(20) >= 90


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STRATEGY_RL_CACHE", str(tmp_path))


def word_question(context, *candidates, left=1.0):
    return {
        "context": (context,),
        "candidates": candidates,
        "state": number(left),
        "action_mask": selection_mask(len(candidates), 8, ()),
    }


def test_among_any_number_of_candidates_in_any_order_the_right_one_is_found(cache):
    learnt = learn("probes/candidates")
    assert learnt.logs[0]["rollout/return_mean"] < 0.5
    assert learnt.greedy(100) >= 2.9  # of 3
    assert learnt.sampled(100) >= 2.5
    rng = np.random.default_rng(0)
    right = 0
    for trial in range(60):
        words = list(rng.permutation(WORDS)[: 2 + trial % 7])
        asked = words[rng.integers(len(words))]
        right += words[learnt.policy.act(word_question(asked, *words), greedy=True).action] == asked
    assert right >= 58
    values = [learnt.value(word_question("red", "red", "blue", left=k / 3)) for k in (3, 2, 1)]
    assert values == near(3.0, 2.0, 1.0, off=0.4)


def test_it_sells_at_the_price_at_which_waiting_is_no_longer_worth_its_cost():
    learnt = learn("probes/stopping")
    offers = np.arange(1, 11) / 10
    decisions = [learnt.policy.act(number(offer), greedy=True) for offer in offers]
    assert [d.action for d in decisions] == [1] * 5 + [0] * 5  # sell at 0.6 or more
    known = np.maximum(offers, OptimalStopping.worth_of_waiting)
    assert [d.value for d in decisions] == near(*known, off=0.05)
    assert learnt.sampled(2000) == pytest.approx(0.68, abs=0.025)


# Through the front door.


def test_a_whole_run_reports_the_known_answer_and_exports_the_policy(tmp_path):
    experiment = load_experiment(
        EXPERIMENTS / "probes/mask.yaml",
        ["evaluation.episodes=300", "evaluation.bootstrap_samples=200"],
    )
    run = strategy_rl.run(experiment, out=tmp_path / "run")
    judged = run.report["policies"]
    assert set(judged) == {"random", "expert", "ppo", "ppo_sampled"}  # sft was not trained
    for name in ("expert", "ppo", "ppo_sampled"):
        assert judged[name]["mean_return"] == pytest.approx(14 / 6, abs=0.12)
    assert judged["random"]["mean_return"] == pytest.approx(1.5, abs=0.2)
    assert run.report["comparisons"]["ppo_vs_expert"]["mean_difference"] > -0.05
    mask = np.array([1, 0, 1, 0], np.int8)
    obs = {"state": mask.astype(np.float32), "action_mask": mask}
    assert run.policy().act(obs, greedy=True).action == 2


def test_a_run_whose_return_tells_nothing_keeps_what_it_learnt_last(tmp_path):
    experiment = load_experiment(
        EXPERIMENTS / "probes/delay.yaml", ["evaluation.bootstrap_samples=100"]
    )
    run = strategy_rl.run(experiment, out=tmp_path / "run")
    policy = run.policy()
    assert [policy.act(number(x)).value for x in (0, 1)] == near(0.99, 1.0, off=0.005)
    assert isinstance(policy.state()["network.value_head.0.weight"], torch.Tensor)
