"""What becomes of an observation: texts to ids in their order, numbers, one-hots, masks, faults."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from toys import policy_of, question, selection_policy

from strategy_rl.errors import EnvironmentFault, InputError
from strategy_rl.policy import ObservationBatch
from strategy_rl.policy.pairs import PairFeatures, words_of
from strategy_rl.policy.spaces import action_spec
from strategy_rl_envs.kit.text import UnicodeText

TEXT = UnicodeText(32)


@pytest.fixture(scope="module")
def selection():
    return selection_policy()


@pytest.fixture(scope="module")
def mixed():
    """Every kind of field beside two texts; Gymnasium sorts a Dict's fields by name."""
    fields = {
        "a_text": TEXT,
        "b_box": spaces.Box(-1, 1, (2, 2), np.float32),
        "c_kind": spaces.Discrete(3),
        "d_turns": spaces.Sequence(TEXT),
        "e_bits": spaces.MultiBinary(2),
    }
    return policy_of(spaces.Dict(fields), spaces.MultiDiscrete([2, 3]), train="frozen")


def mixed_observation(**changed):
    fields = {
        "a_text": "hello",
        "b_box": np.arange(4, dtype=np.float32).reshape(2, 2),
        "c_kind": 1,
        "d_turns": ("one", "two"),
        "e_bits": np.array([1, 0], np.int8),
    }
    return {**fields, **changed}


def texts_of(policy, ids):
    return [None if i < 0 else policy.table.text(i) for i in ids.tolist()]


@pytest.mark.parametrize(
    ("turns", "slots"),
    [
        ((), [None, None]),
        (("one",), [None, "one"]),
        (("one", "two"), ["one", "two"]),
        (("one", "two", "three"), ["two", "three"]),
    ],
)
def test_the_last_turn_of_the_context_always_stands_in_the_last_slot(selection, turns, slots):
    batch = selection.encode([question("x", context=turns)])
    assert texts_of(selection, batch.context[0]) == slots


def test_candidates_keep_their_order_and_the_rest_of_the_slots_is_empty_and_illegal(selection):
    batch = selection.encode([question("x", "y", "x"), question("z")])
    assert texts_of(selection, batch.candidates[0]) == ["x", "y", "x", None]
    assert texts_of(selection, batch.candidates[1]) == ["z", None, None, None]
    assert batch.mask.int().tolist() == [[1, 1, 1, 0, 1], [1, 0, 0, 0, 1]]


def test_a_mask_cannot_make_a_candidate_legal_that_is_not_there(selection):
    obs = {**question("x"), "action_mask": np.ones(5, np.int8)}
    assert selection.encode([obs]).mask[0].tolist() == [True, False, False, False, True]


def test_texts_numbers_and_one_hots_stand_in_the_order_of_the_space(mixed):
    batch = mixed.encode([mixed_observation()])
    assert texts_of(mixed, batch.context[0]) == ["hello", "one", "two"]
    assert batch.numbers[0].tolist() == [0, 1, 2, 3, 0, 1, 0, 1, 0]
    assert batch.mask.all()  # no mask given: all is legal


def test_an_observation_without_fields_is_read_whole():
    policy = policy_of(spaces.Discrete(3), spaces.Discrete(2))
    assert policy.encode([2]).numbers.tolist() == [[0, 0, 1]]
    policy = policy_of(TEXT, spaces.Discrete(2), train="frozen")
    assert texts_of(policy, policy.encode(["hello"]).context[0]) == ["hello"]


def test_the_mask_of_the_observation_goes_before_the_one_of_the_info(mixed, selection):
    masks = (np.array([1, 0], np.int8), np.array([0, 1, 1], np.int8))
    batch = mixed.encode([mixed_observation()], [masks])
    assert batch.mask[0].tolist() == [True, False, False, True, True]
    obs = question("x", "y")
    assert selection.encode([obs], [np.array([1, 0, 0, 0, 0])]).mask[0, 1]
    del obs["action_mask"]
    assert not selection.encode([obs], [np.array([1, 0, 0, 0, 0])]).mask[0, 1]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"action_mask": np.array([0, 0, 1, 1, 0])}, "no legal action"),
        ({"action_mask": np.ones(4)}, r"shape \(4,\).*\(5,\)"),
        ({"candidates": ("x",) * 5}, "5 candidates.*room for 4"),
        ({"state": np.array([np.nan])}, "not finite"),
        ({"state": np.zeros(2)}, "'state' holds .*asks for 1 numbers"),
    ],
)
def test_an_observation_that_breaks_the_contract_is_refused(selection, changed, message):
    with pytest.raises(EnvironmentFault, match=message):
        selection.encode([{**question("x", "y"), **changed}])


@pytest.mark.parametrize("kind", [3, -1, 0.5])
def test_an_index_outside_its_space_is_refused(mixed, kind):
    with pytest.raises(EnvironmentFault, match=f"'c_kind' holds {kind}.*below 3"):
        mixed.encode([mixed_observation(c_kind=kind)])


def test_each_factor_of_an_action_needs_something_legal(mixed):
    with pytest.raises(EnvironmentFault, match="no legal action"):
        mixed.encode([mixed_observation()], [np.array([1, 1, 0, 0, 0])])


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Discrete(3, start=1), "'': Discrete.* must start at 0"),
        (spaces.Tuple((spaces.Sequence(spaces.Discrete(2)),)), "no encoding for Sequence"),
        (spaces.Dict({"a": spaces.Graph(spaces.Box(0, 1), None)}), "'a': no encoding for Graph"),
    ],
)
def test_an_observation_space_without_an_encoding_is_refused(space, message):
    with pytest.raises(InputError, match=message):
        policy_of(space, spaces.Discrete(2))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Discrete(3, start=1), "start at 0"),
        (spaces.Box(-np.inf, np.inf, (1,)), "must be bounded.*RescaleAction"),
        (TEXT, "no policy head"),
    ],
)
def test_an_action_space_without_a_head_is_refused(space, message):
    with pytest.raises(InputError, match=message):
        action_spec(space)


def test_texts_without_a_model_are_refused():
    with pytest.raises(InputError, match=r"backbone\.model is null"):
        policy_of(TEXT, spaces.Discrete(2))


def test_what_is_encoded_together_is_what_is_encoded_apart(selection):
    several = [question("x", "y"), question("z", state=0.1), question("x", context=())]
    together = selection.encode(several)
    apart = ObservationBatch.concatenate([selection.encode([obs]) for obs in several])
    for name in ("context", "candidates", "pairs", "numbers", "mask"):
        assert getattr(together, name).equal(getattr(apart, name))
    chosen = together[torch.tensor([2, 0])]
    assert chosen.numbers.equal(together.numbers[[2, 0]])
    assert len(chosen) == 2


def test_words_are_letters_and_chinese_characters_count_alone_and_in_pairs():
    assert words_of("Red, red FOX_2!") == {"red", "fox", "2"}
    assert words_of("\u4f60\u597d ok") == {"\u4f60", "\u597d", "\u4f60\u597d", "ok"}
    assert words_of("?!") == frozenset()


def test_pair_features_count_shared_words_repetitions_and_lengths(selection):
    """Shares of words are multiplied by 3 and cosines by 5, to bring all to one scale."""
    context, offered = ("a b", "a red fox"), ("a red hen b", "a b", "")
    ids = [np.array(selection.table.ids(texts)) for texts in (context, offered)]
    found = PairFeatures(selection.table, 2).of(*ids)
    log = np.log1p
    assert found[:, :6] == pytest.approx(
        np.array(
            [
                [3 * 2 / 4, 3 * 3 / 4, 3 * 2 / 3, 0, log(4) / 3, (log(4) - log(3)) / 3],
                [3 * 1 / 2, 3 * 2 / 2, 3 * 1 / 3, 1, log(2) / 3, (log(2) - log(3)) / 3],
                [0, 0, 0, 0, 0, -log(3) / 3],
            ]
        )
    )
    assert found[1, 6] == pytest.approx(5.0, abs=1e-4)  # 5 x the cosine of a text with itself
    assert (np.abs(found[:, 6:]) <= 5 + 1e-4).all()


def test_pair_features_of_a_missing_turn_are_nothing(selection):
    context = np.array([-1, -1])
    found = PairFeatures(selection.table, 2).of(context, np.array(selection.table.ids(["a b"])))
    assert found[0].tolist() == pytest.approx([0, 0, 0, 0, np.log1p(2) / 3, np.log1p(2) / 3, 0, 0])
