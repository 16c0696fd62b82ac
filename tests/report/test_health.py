from typing import Any

import pytest

from strategy_rl.report.health import curves_of, health

HEALTHY: dict[str, list[float]] = {
    "ppo/entropy": [1.0, 0.5],
    "ppo/approx_kl": [0.005, 0.01],
    "ppo/explained_variance": [-0.5, 0.1, 0.4, 0.6],
    "ppo/early_stopped": [0.0, 1.0, 0.0],
    "rollout/reward_spread_mean": [0.5],
    "rollout/reward_spread_zero_share": [0.2],
}


def ppo(share: float) -> dict[str, Any]:
    return {"ppo": {"most_frequent_action": {"action": "hand_over", "share": share}}}


def warnings_of(curves: dict[str, list[float]], share: float = 0.5) -> list[str]:
    return [line for line in health(ppo(share), curves) if line.startswith("warning: ")]


def test_a_healthy_run_gets_only_ok() -> None:
    verdicts = health(ppo(0.6), HEALTHY)
    assert len(verdicts) == 6
    assert all(verdict.startswith("ok: ") for verdict in verdicts)


def test_one_action_nearly_always_is_a_collapse() -> None:
    (warning,) = warnings_of(HEALTHY, share=0.97)
    assert "'hand_over' in 97% of its decisions" in warning


@pytest.mark.parametrize(
    ("curves", "words"),
    [
        ({"ppo/entropy": [1.0, 0.5, 0.09]}, "entropy fell to 9%"),
        ({"ppo/explained_variance": [0.5, 0.5, 0.5, -0.1]}, "explained variance ended at -0.10"),
        ({"ppo/early_stopped": [1.0, 1.0, 0.0]}, "67% of the iterations ended early"),
        ({"ppo/approx_kl": [0.001, 0.03, 0.05]}, "0.030 in the median, above 0.02"),
        ({"rollout/reward_spread_mean": [0.0]}, "nothing to learn from"),
        ({"rollout/reward_spread_zero_share": [0.95]}, "nothing to learn from"),
        ({"rollout/dropped_episodes": [2.0, 1.0]}, "3 episodes of 2 rollouts were thrown away"),
    ],
)
def test_each_sickness_is_named(curves: dict[str, list[float]], words: str) -> None:
    (warning,) = warnings_of({**HEALTHY, **curves})
    assert words in warning


def test_nothing_is_said_of_what_was_not_measured() -> None:
    assert health({}, {}) == []
    assert health({"ppo": {"most_frequent_action": None}}, {"ppo/entropy": [1.0]}) == []


def test_curves_keep_the_order_and_leave_out_what_was_not_finite() -> None:
    entries: list[dict[str, Any]] = [
        {"scalars": {"a": 1.0, "b": None}},
        {"texts": {}},
        {"scalars": {"a": 2.0}},
    ]
    assert curves_of(entries) == {"a": [1.0, 2.0]}


def written(**shares: float) -> dict[str, Any]:
    return {
        name: {"most_frequent_text": {"text": "it is good.", "share": share}}
        for name, share in shares.items()
    }


def test_one_text_for_a_quarter_of_the_rows_is_a_weak_reward() -> None:
    (warning,) = health(written(ppo=0.43, sft=0.02), {})

    assert warning.startswith("warning: PPO writes 'it is good.' in 43% of its decisions")
    assert "SFT's most frequent text: 2%" in warning


@pytest.mark.parametrize("shares", [{"ppo": 0.2, "sft": 0.0}, {"ppo": 0.5, "sft": 0.3}])
def test_texts_that_vary_as_much_as_before_are_sound(shares: dict[str, float]) -> None:
    (verdict,) = health(written(**shares), {})

    assert verdict.startswith("ok: PPO varies its texts")
