"""Imitation: it learns what can be learnt, keeps the best, and leaves the rest alone."""

import json

import numpy as np
import pytest
import torch
from gymnasium import spaces
from toys import (
    Numbered,
    Recorder,
    numbers_policy,
    policy_of,
    question,
    selection_policy,
    stir,
)

from strategy_rl.config import EarlyStopping, SFTConfig
from strategy_rl.demonstrations import RawDemonstrations, read_demonstrations, roll_expert
from strategy_rl.env import EnvSlots, make_slots
from strategy_rl.errors import EnvironmentFault, InputError
from strategy_rl.rollout import EpisodePlan
from strategy_rl.sft import (
    Validation,
    imitation_loss,
    open_special_actions,
    sft_state,
    train_sft,
    unused_specials,
)
from strategy_rl.training import Silent

TINY_REPLY = "strategy_rl_envs:strategy_rl/TinyReply-v0"


def imitate(policy, raw, *, play=None, seed=0, **options):
    plain = {"epochs": 10, "batch_size": 8, "contrastive_coef": 0.0, "early_stopping": None}
    config = SFTConfig(**{**plain, **options})
    demonstrations = raw.encode(policy)
    recorder = Recorder()
    train_sft(
        policy,
        demonstrations,
        Validation(demonstrations, play),
        config,
        seed=seed,
        hooks=recorder,
        state=sft_state(policy, config, 1e-3),
    )
    return recorder.logs


def signs(count=32):
    """Above 0 the expert takes action 1, else action 0: separable."""
    numbers = np.linspace(-1, 1, count).astype(np.float32)
    return RawDemonstrations(
        [np.array([x]) for x in numbers], [None] * count, [int(x > 0) for x in numbers]
    )


def accuracy(policy, raw):
    decided = [policy.act(obs, greedy=True).action for obs in raw.observations]
    return np.mean([a == b for a, b in zip(decided, raw.actions, strict=True)])


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_separable_task_is_learnt_to_the_last_demonstration(dropout):
    policy = numbers_policy()
    logs = imitate(policy, signs(), epochs=40, learning_rate=2e-2, dropout=dropout)
    assert accuracy(policy, signs()) == 1.0
    assert logs[-1]["sft/validation_accuracy"] == 1.0
    assert logs[-1]["sft/validation_loss"] < logs[0]["sft/validation_loss"]


def test_gradient_descent_with_momentum_learns_it_too():
    policy = numbers_policy()
    options = {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 0.0}
    imitate(policy, signs(), epochs=40, dropout=0.0, **options)
    assert accuracy(policy, signs()) == 1.0


@pytest.mark.parametrize("kind", ["multi", "box"])
def test_other_action_spaces_are_imitated_too(kind):
    box = spaces.Box(-1, 1, (1,), np.float32)
    numbers = np.linspace(-1, 1, 32).astype(np.float32)
    observations = [np.array([x]) for x in numbers]
    if kind == "multi":
        policy = policy_of(box, spaces.MultiDiscrete([2, 3]))
        actions = [[int(x > 0), int(x > 0.3) + int(x > -0.3)] for x in numbers]
    else:
        policy = policy_of(box, spaces.Box(-2, 2, (1,), np.float32), init_log_std=-1.0)
        actions = [[float(x)] for x in numbers]
    imitate(policy, RawDemonstrations(observations, [None] * 32, actions), epochs=60,
            learning_rate=2e-2, dropout=0.0, weight_decay=0.0)  # fmt: skip
    decided = np.array([policy.act(obs, greedy=True).action for obs in observations])
    off = np.abs(decided - np.array(actions))
    assert off.max() == 0 if kind == "multi" else off.mean() < 0.1


def test_the_value_head_is_not_moved_and_dropout_is_off_afterwards():
    policy = numbers_policy()
    before = policy.state()
    imitate(policy, signs(), dropout=0.5, weight_decay=0.5)
    moved = {name for name, x in policy.state().items() if not x.equal(before[name])}
    assert moved
    assert not any("value_head" in name for name in moved)
    assert policy.network.dropout.p == 0.0


def test_the_same_seed_gives_the_same_weights_and_another_one_others():
    def weights(seed):
        policy = numbers_policy()
        imitate(policy, signs(), epochs=2, seed=seed)
        return torch.cat([x.flatten() for x in policy.state().values()])

    assert weights(0).equal(weights(0))
    assert not weights(0).equal(weights(1))


# Early stopping.


def test_it_stops_without_improvement_and_puts_the_best_weights_back():
    policy, seen = numbers_policy(), []
    scores = iter([1.0, 5.0, 2.0, 5.0, 3.0, 9.0])  # equal is not better

    def play():
        seen.append(policy.state())
        return next(scores)

    stopping = EarlyStopping(metric="return", patience=3)
    logs = imitate(policy, signs(), play=play, early_stopping=stopping, learning_rate=1e-2)
    assert [log["sft/validation_return"] for log in logs] == [1.0, 5.0, 2.0, 5.0, 3.0]
    assert all(x.equal(seen[1][name]) for name, x in policy.state().items())


def test_a_loss_is_better_when_it_is_lower():
    policy = numbers_policy()
    stopping = EarlyStopping(metric="loss", patience=3)
    logs = imitate(policy, signs(), epochs=8, early_stopping=stopping, dropout=0.0)
    assert len(logs) == 8  # it fell all the time
    assert logs[-1]["sft/validation_loss"] < 0.99 * logs[0]["sft/validation_loss"]


def test_on_a_box_where_no_action_is_hit_exactly_the_loss_decides_instead_of_the_accuracy():
    policy = policy_of(spaces.Box(-1, 1, (1,)), spaces.Box(-2, 2, (1,), np.float32))
    numbers = np.linspace(-1, 1, 32).astype(np.float32)
    raw = RawDemonstrations(
        [np.array([x]) for x in numbers], [None] * 32, [[float(x)] for x in numbers]
    )
    stopping = EarlyStopping(metric="accuracy", patience=1)
    logs = imitate(policy, raw, epochs=10, early_stopping=stopping, dropout=0.0)
    assert len(logs) == 10
    assert {log["sft/validation_accuracy"] for log in logs} == {0.0}


def test_without_early_stopping_the_last_weights_stay():
    policy, seen = numbers_policy(), []

    class Watch(Silent):
        def safe_point(self, state, *, due, exact=True):
            seen.append(state.policy.state())

    config = SFTConfig(epochs=3, early_stopping=None, batch_size=8)
    demonstrations = signs().encode(policy)
    train_sft(policy, demonstrations, Validation(demonstrations), config, seed=0, hooks=Watch(),
              state=sft_state(policy, config, 1e-3))  # fmt: skip
    assert all(x.equal(seen[2][name]) for name, x in policy.state().items())


# Special actions.


def questions():
    """The right candidate repeats the context; nobody ever hands over."""
    words = ("red", "blue", "green", "black")
    observations = [
        question(*(words[(i + k) % 4] for k in range(2 + i % 3)), context=(words[i % 4],))
        for i in range(12)
    ]
    return RawDemonstrations(observations, [None] * 12, [0] * 12)


def test_special_actions_that_the_expert_never_takes_are_left_alone_and_opened_afterwards():
    policy = selection_policy()
    raw = questions()
    demonstrations = raw.encode(policy)
    assert unused_specials(policy, demonstrations.actions) == [4]
    before = policy.state()
    imitate(policy, raw, epochs=20, learning_rate=1e-2, contrastive_coef=0.3, weight_decay=0.0)
    moved = {name for name, x in policy.state().items() if not x.equal(before[name])}
    assert not any("special_head" in name for name in moved)
    greedy = [policy.act(obs, action_mask=[1, 1, 1, 1, 0], greedy=True).action
              for obs in raw.observations]  # fmt: skip
    open_special_actions(policy, demonstrations, demonstrations.batch, prior=0.1)
    probabilities = policy.evaluate(demonstrations.batch).distribution.probs
    assert probabilities[:, 4].mean().item() == pytest.approx(0.1, abs=1e-3)
    assert [policy.act(obs, action_mask=[1, 1, 1, 1, 0], greedy=True).action
            for obs in raw.observations] == greedy  # fmt: skip


def test_between_epochs_the_policy_is_played_as_it_would_be_left_and_goes_on_as_it_was():
    raw, seen = questions(), []
    policy, alone = selection_policy(), selection_policy()
    demonstrations = raw.encode(policy)

    def play():
        stored = policy.evaluate(demonstrations.batch).distribution
        seen.append(stored.probs[:, 4].mean().item())
        return float(len(seen))  # the last stays

    options = {"epochs": 3, "learning_rate": 1e-2, "special_action_prior": 0.1, "dropout": 0.0}
    stopping = EarlyStopping(metric="return", patience=5)
    imitate(policy, raw, play=play, early_stopping=stopping, **options)
    assert seen == pytest.approx([0.1] * 3, abs=1e-3)

    imitate(alone, raw, **options)
    assert all(x.equal(policy.state()[name]) for name, x in alone.state().items())


def test_where_a_special_action_is_illegal_it_stays_so_and_counts_as_nothing():
    policy = stir(selection_policy(num_special=2))
    observations = [question("red", "blue") for _ in range(4)]
    for number, obs in enumerate(observations):
        obs["action_mask"] = np.array([1, 1, 0, 0, number < 2, 1], np.int8)
    demonstrations = RawDemonstrations(observations, [None] * 4, [0, 1, 0, 5]).encode(policy)
    assert unused_specials(policy, demonstrations.actions) == [4]  # 5 is taken once
    open_special_actions(policy, demonstrations, demonstrations.batch, prior=0.2)
    probabilities = policy.evaluate(demonstrations.batch).distribution.probs
    assert probabilities[:, 4].mean().item() == pytest.approx(0.2, abs=1e-3)
    assert not probabilities[2:, 4].any()


def test_a_special_action_that_the_expert_takes_is_learnt_and_not_opened():
    policy = selection_policy()
    raw = questions()
    handed = RawDemonstrations(
        [*raw.observations, *(question("white", state=1.0) for _ in range(6))],
        [None] * 18,
        [*raw.actions, *[4] * 6],
    )
    imitate(policy, handed, epochs=60, learning_rate=2e-2, dropout=0.0)
    assert policy.act(question("white", state=1.0), greedy=True).action == 4
    demonstrations, before = handed.encode(policy), policy.state()
    open_special_actions(policy, demonstrations, demonstrations.batch, prior=0.1)
    assert all(x.equal(before[name]) for name, x in policy.state().items())


def test_what_counts_as_illegal_in_imitation_has_no_gradient():
    policy = stir(selection_policy())
    demonstrations = questions().encode(policy)
    loss, metrics = imitation_loss(policy, demonstrations, [4], contrastive_coef=0.0)
    loss.backward()
    assert all(p.grad is None or not p.grad.any() for p in policy.network.special_head.parameters())
    with_it = imitation_loss(policy, demonstrations, [], contrastive_coef=0.0)
    assert with_it.loss > loss  # sharing with one action more costs probability
    assert 0 <= metrics["accuracy"] <= 1


def test_the_contrastive_term_is_weighed_in_as_often_as_asked():
    policy = stir(selection_policy())
    demonstrations = questions().encode(policy)
    plain = imitation_loss(policy, demonstrations, [4], 0.0).loss
    loss, metrics = imitation_loss(policy, demonstrations, [4], 0.3)
    torch.testing.assert_close(loss, plain + 0.3 * metrics["contrastive_loss"])


# Demonstrations.


def test_the_expert_is_rolled_through_whole_episodes():
    slots = make_slots(TINY_REPLY, {}, 1)
    raw = roll_expert(slots, [EpisodePlan(0, row) for row in (3, 1)])
    assert len(raw.actions) == 4  # two questions a row
    for obs, action in zip(raw.observations, raw.actions, strict=True):
        assert obs["action_mask"][action] == 1
    assert [obs["state"][0] for obs in raw.observations] == [1.0, 0.5, 1.0, 0.5]
    assert raw.observations[0]["context"][0] in raw.texts()


def test_a_task_without_an_expert_is_refused():
    with pytest.raises(InputError, match=r"no expert.*sft\.demonstrations.*sft\.epochs=0"):
        roll_expert(make_slots("CartPole-v1", {}, 1), [EpisodePlan(0)])


class Tiring(Numbered):
    """Two steps an episode; the expert of an odd seed names no action in the second."""

    def reset(self, *, seed=None, options=None):
        self.seed, self.steps = seed, 0
        return super().reset(seed=seed)[0], {"expert_action": 1}

    def step(self, action):
        self.steps += 1
        info = {} if self.seed % 2 else {"expert_action": 1}
        return self.number, 0.0, self.steps == 2, False, info


def test_an_expert_that_gives_up_in_mid_episode_is_named_with_its_row_and_step():
    slots = EnvSlots(Tiring, 1)
    assert len(roll_expert(slots, [EpisodePlan(2), EpisodePlan(4)]).actions) == 4
    with pytest.raises(EnvironmentFault, match=r"expert_action.*at row 7, step 2;.*seed=3"):
        roll_expert(slots, [EpisodePlan(2), EpisodePlan(3, row=7)])


def test_a_line_of_demonstrations_ends_at_a_newline_alone(tmp_path):
    path = tmp_path / "expert.jsonl"
    text = "one\u2028line\u0085still\x1cone"
    row = json.dumps({"observation": text, "action": 1}, ensure_ascii=False)
    path.write_bytes(f"{row}\r\n{row}\n".encode())
    assert read_demonstrations(path).observations == [text, text]


@pytest.mark.parametrize(
    ("space", "action"),
    [
        (spaces.MultiDiscrete([[2, 3], [4, 5]]), [[1, 2], [3, 4]]),
        (spaces.Box(-1, 1, (2, 2)), np.array([[0.5, 0.25], [0.0, -0.5]], np.float32)),
    ],
)
def test_a_nested_action_of_the_expert_is_laid_flat(space, action):
    policy = policy_of(spaces.Box(-1, 1, (1,)), space)
    observation = np.zeros(1, np.float32)
    raw = RawDemonstrations([observation] * 2, [None] * 2, [action] * 2)
    assert raw.encode(policy).actions.tolist() == [np.ravel(action).tolist()] * 2


def test_a_file_of_demonstrations_is_read_and_learnt(tmp_path):
    raw, path = signs(), tmp_path / "expert.jsonl"
    rows = [
        {"observation": obs.tolist(), "action": action, "action_mask": [1, 1]}
        for obs, action in zip(raw.observations, raw.actions, strict=True)
    ]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    policy = numbers_policy()
    found = read_demonstrations(path)
    imitate(policy, found, epochs=40, learning_rate=2e-2)
    assert accuracy(policy, raw) == 1.0


GOOD = '{"observation": [0.5], "action": 1}'


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([GOOD, "{nonsense"], r":2: not a JSON object"),
        ([GOOD, '{"observation": [0.5]}'], r":2: field 'action' is missing"),
        ([GOOD, "[1, 2]"], r":2: field 'observation' is missing"),
        ([GOOD], r"1 demonstrations; expected at least 2"),
        ([], r"0 demonstrations"),
    ],
)
def test_a_faulty_file_is_refused_with_its_line(tmp_path, lines, message):
    path = tmp_path / "expert.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_demonstrations(path)


def test_a_file_that_is_no_text_or_not_there_is_refused(tmp_path):
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    for name in ("bytes", "missing"):
        with pytest.raises(InputError, match=f"{name}: cannot be read"):
            read_demonstrations(tmp_path / name)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (2, r"demonstration 2 of 2: action 2 is not legal there; legal are \[0, 1\]"),
        (-1, "action -1 is not legal"),
        (0.5, "first action is .* asks for one index each"),
        ([0, 1], "not alike"),
        ("left", "not alike"),
    ],
)
def test_an_action_that_cannot_be_is_refused_before_training(action, message):
    observations = [np.zeros(1, np.float32)] * 2
    raw = RawDemonstrations(observations, [None, None], [1, action])
    with pytest.raises(InputError, match=message):
        raw.encode(numbers_policy())


def test_an_action_that_its_mask_forbids_is_refused():
    raw = RawDemonstrations([np.zeros(1, np.float32)] * 2, [None, np.array([1, 0])], [1, 1])
    with pytest.raises(InputError, match="demonstration 2 of 2: action 1 is not legal"):
        raw.encode(numbers_policy())


def test_the_fingerprint_of_demonstrations_sees_every_number_text_mask_and_action():
    def digest(number=0.5, text="red", mask=(1, 1), action=0):
        obs = {"state": np.array([number], np.float32), "context": (text,)}
        return RawDemonstrations([obs], [np.array(mask)], [action]).digest()

    assert digest() == digest()
    others = {digest(number=0.25), digest(text="blue"), digest(mask=(1, 0)), digest(action=1)}
    assert len(others | {digest()}) == 5
