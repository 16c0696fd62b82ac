from strategy_rl.episodes import Episode, Step
from strategy_rl.logger import episode_digest, episodes_digest
from strategy_rl.logger.digest import MAX_CANDIDATES, MAX_STEPS, MAX_TEXT


def step(**changes: object) -> Step:
    fields: dict[str, object] = {
        "action": 1,
        "action_name": "candidate 1",
        "reward": -0.5,
        "components": {"wrong_reply": -0.5, "right_reply": 0.0},
        "observation": {
            "context": ["hello", "where is my parcel?"],
            "candidates": ["on its way", "我不知道"],
            "action_mask": [1, 1, 1],
            "turns_left": [3],
        },
        "legal_actions": [0, 1, 2],
        "probabilities": [0.25, 0.5, 0.25],
        "value": 0.75,
        "expert_action": 0,
        "candidate_kinds": ["gold", "random"],
    }
    return Step(**{**fields, **changes})  # type: ignore[arg-type]


def digest(*steps: Step) -> str:
    return episode_digest(Episode("e", "ppo", 4, 0, "test", 12, None, "ppo", True, steps))


def test_a_digest_shows_what_was_seen_chosen_paid_and_expected() -> None:
    text = digest(step())
    assert text.startswith("**ppo, row 12**: return -0.50 in 1 steps")
    assert "- “where is my parcel?”" in text
    assert "(turns&#95;left &#91;3&#93;)" in text
    assert "| “我不知道” (random) | ██████ 0.50 | chosen |" in text
    assert "| “on its way” (gold) | ███ 0.25 | expert |" in text
    assert "| action 2 | ███ 0.25 |  |" in text
    named = step(legal_names=["candidate 0", "candidate 1", "hand_over"])
    assert "| hand&#95;over | ███ 0.25 |  |" in digest(named)
    assert "reward -0.50 (wrong&#95;reply -0.50); value before 0.75; expert: “on its way”" in text


def test_a_digest_of_bare_figures_needs_no_texts() -> None:
    bare = step(observation=None, legal_actions=None, probabilities=None, value=None)
    assert "| action |" not in digest(bare)
    vector = step(action=[0, 2], action_name="[0, 2]", expert_action=[0, 1], observation=None)
    assert "expert: &#91;0, 1&#93;" in digest(vector)
    assert "expert: the same" in digest(step(expert_action=1))
    assert "expert" not in digest(step(expert_action=None))


def test_a_digest_shows_what_a_step_wrote() -> None:
    text = digest(step(action_name="T 0.7", text="once *upon* "))
    assert "Chose **T 0.7**" in text
    assert "wrote “once &#42;upon&#42;”" in text
    assert "wrote" not in digest(step(text=""))


def test_a_digest_is_capped_and_says_what_it_left_out() -> None:
    many = {"candidates": [f"reply {i}" for i in range(50)], "context": "x" * 10_000}
    wide = step(
        observation=many, legal_actions=list(range(50)), probabilities=[0.02] * 50, expert_action=49
    )
    text = digest(*[wide] * (MAX_STEPS + 3))
    assert "(3 more steps)" in text
    assert f"({50 - MAX_CANDIDATES - 1} more)" in text
    assert "“reply 49” | 0.02 | expert" in text
    assert max(map(len, text.splitlines())) < MAX_TEXT + 50


def test_a_hostile_candidate_stays_one_cell_of_the_table() -> None:
    hostile = {"candidates": ["a | b\n\n# head <b>x</b>", "\x1b[2J"], "context": []}
    text = digest(step(observation=hostile))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(row.count("|") == 4 for row in rows)
    assert "<b>" not in text
    assert "\x1b" not in text


def test_several_episodes_are_spread_from_the_worst_to_the_best() -> None:
    episodes = [
        Episode("e", "ppo", 0, 0, "test", row, None, "ppo", True, (step(reward=float(row)),))
        for row in (4, 0, 3, 1, 2)
    ]
    texts = episodes_digest(episodes, 3).split("\n\n---\n\n")
    assert [text.split(":")[0] for text in texts] == [
        "**ppo, row 0**",
        "**ppo, row 2**",
        "**ppo, row 4**",
    ]
    assert episodes_digest(episodes[:1], 3).count("**ppo, row") == 1
    assert episodes_digest([], 3) == ""
