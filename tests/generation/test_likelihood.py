"""Candidates of one context: read once, as likely as if each were read with it, and the rival."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from strategy_rl.backbone import BackboneSettings, LanguageModel
from strategy_rl.config import Experiment
from strategy_rl.errors import InputError
from strategy_rl.generation import likelihood
from strategy_rl.generation.likelihood import CandidateScorer, first_that_agrees
from strategy_rl.generation.prefix_sharing import read_in_one_row, read_in_rows, read_whole
from strategy_rl.likelihood_rival import LikelihoodActor
from strategy_rl.policy.spaces import action_spec, observation_spec
from strategy_rl_envs.kit.selection import selection_mask, selection_spaces
from tests.generation.networks import SIZE, network_of, writer
from tests.generation.writers import END, llama

RNG = np.random.default_rng(0)

CONTEXTS = [[2, 3, 4, 5, 6], [7, 2], [9, 9, 3], [4]]
OFFERED = [[[3, 4], [5, 5, 5, 2, 1], [8]], [[2], [3]], [], [[6, 7, 8, 1]]]


def scorer_of(kind: str, **options: Any) -> CandidateScorer:
    return CandidateScorer(writer(network_of(kind)), **options)


def plain(model: LanguageModel, context: Sequence[int], ids: Sequence[int]) -> Tensor:
    """The network's own scores of context and candidate read as one text, without padding."""
    if model.has_encoder:
        start = [model.network.config.decoder_start_token_id]
        inputs = {"input_ids": torch.tensor([context])}
        inputs["decoder_input_ids"] = torch.tensor([[*start, *ids]])
        first = 0
    else:
        inputs = {"input_ids": torch.tensor([[*context, *ids]])}
        first = len(context) - 1
    with torch.no_grad():
        logs = model.network(**inputs).logits[0].log_softmax(-1)
    return torch.stack([logs[first + place, token] for place, token in enumerate(ids)])


WAYS = {
    "llama": read_in_one_row,
    "qwen2": read_in_one_row,
    "gpt2": read_in_one_row,
    "opt": read_in_one_row,
    "gpt-neox": read_in_one_row,
    "qwen2-windows": read_in_rows,
    "t5": read_whole,
    "bart": read_whole,
}


@pytest.mark.parametrize("kind", WAYS)
@pytest.mark.parametrize("most_tokens", [1, 12, 2048])
def test_each_candidate_is_as_likely_as_when_it_is_read_with_its_context(
    kind: str, most_tokens: int
) -> None:
    scorer = scorer_of(kind, most_tokens=most_tokens)
    found = scorer.logprobs(CONTEXTS, OFFERED)
    assert scorer._way is WAYS[kind]
    assert [len(group) for group in found] == [3, 2, 0, 1]
    for context, group, offered in zip(CONTEXTS, found, OFFERED, strict=True):
        for logprobs, ids in zip(group, offered, strict=True):
            torch.testing.assert_close(
                logprobs, plain(scorer.model, context, ids), rtol=0, atol=1e-4
            )


@pytest.mark.parametrize("way", [read_in_one_row, read_in_rows])
def test_both_ways_of_sharing_give_the_states_of_the_plain_way(way: Any) -> None:
    model = writer(network_of("gpt2"))
    offered = [group or [[5]] for group in OFFERED]
    with torch.no_grad():
        got, expected = (w(model, CONTEXTS, offered, 9) for w in (way, read_whole))
    torch.testing.assert_close(
        got.hidden[got.places], expected.hidden[expected.places], rtol=0, atol=1e-4
    )


def test_the_probabilities_of_all_texts_of_two_tokens_add_up_to_one() -> None:
    scorer = scorer_of("llama")
    texts = [[one, other] for one in range(SIZE) for other in range(SIZE)]
    (found,) = scorer.logprobs([[2, 3]], [texts])
    assert sum(math.exp(float(logprobs.sum())) for logprobs in found) == pytest.approx(1, abs=1e-5)


def test_the_order_of_candidates_and_their_company_change_nothing() -> None:
    scorer = scorer_of("gpt2")
    (together,) = scorer.logprobs(CONTEXTS[:1], OFFERED[:1])
    (reversed_,) = scorer.logprobs(CONTEXTS[:1], [OFFERED[0][::-1]])
    for place, ids in enumerate(OFFERED[0]):
        ((alone,),) = scorer.logprobs(CONTEXTS[:1], [[ids]])
        for other in (alone, reversed_[-1 - place]):
            torch.testing.assert_close(together[place], other, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("most_tokens", "passes"), [(2048, [20, 12]), (10, [20, 8, 4]), (1, [20, 4, 4, 4])]
)
def test_the_context_is_read_once_and_each_candidate_once(
    most_tokens: int, passes: list[int]
) -> None:
    scorer = scorer_of("llama", most_tokens=most_tokens)
    context, offered = list(range(2, 22)), [[3, 4, 5, 6, 7]] * 3
    scorer.logprobs([context], [offered])  # the first use tries the ways out
    fed: list[int] = []
    scorer.model.network.get_decoder().register_forward_pre_hook(
        lambda module, args, kwargs: fed.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    scorer.logprobs([context], [offered])
    assert fed == passes  # C, then K (c - 1): nothing follows a last token
    fed.clear()
    read_whole(scorer.model, [context], [offered], 2048)
    assert sum(fed) == 3 * (20 + 4)


def test_the_head_scores_each_state_once() -> None:
    scorer = scorer_of("llama")
    with torch.no_grad():
        states = read_in_one_row(scorer.model, [[2, 3]], [[[4, 5, 6], [4, 5], [7]]], 2048)
    assert len(states.hidden) == 1 + 2 + 1
    assert states.places.tolist() == [0, 1, 2, 0, 3, 0]


def test_a_way_that_gives_other_states_or_fails_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def blurred(*args: Any) -> Any:
        states = read_in_one_row(*args)
        return states._replace(hidden=states.hidden.roll(1, 0))

    def failing(*args: Any) -> Any:
        raise TypeError("no such argument")

    model = writer(network_of("llama"))
    monkeypatch.setattr(likelihood, "_SHARING", (blurred, failing, read_in_rows))
    assert first_that_agrees(model) is read_in_rows
    monkeypatch.setattr(likelihood, "_SHARING", (blurred, failing))
    assert first_that_agrees(model) is read_whole
    assert "reads the context again for each candidate" in caplog.text


def test_where_the_frozen_weights_are_bfloat16_the_context_is_shared_too() -> None:
    model = writer(network_of("llama"), BackboneSettings(train="last_n", last_n=1), half=True)
    scorer = CandidateScorer(model)
    found = scorer.logprobs(CONTEXTS, OFFERED)
    assert scorer._way is read_in_one_row
    expected = CandidateScorer(model)
    expected._way = read_whole
    for group, others in zip(found, expected.logprobs(CONTEXTS, OFFERED), strict=True):
        for logprobs, other in zip(group, others, strict=True):
            torch.testing.assert_close(logprobs, other, rtol=0, atol=0.05)


def test_texts_without_tokens_are_refused_by_their_place() -> None:
    scorer = scorer_of("llama")
    with pytest.raises(InputError, match="candidate 1 of context 2 has no tokens"):
        scorer.logprobs([[2], [3], [4]], [[[2]], [], [[2], []]])
    with pytest.raises(InputError, match="context 1 has no tokens"):
        scorer.logprobs([[2], []], [[[2]], [[3]]])


# The rival.


@pytest.fixture(scope="module")
def echo() -> LanguageModel:
    """Has learnt to answer a letter with three of it, and `h` whatever was said a little more."""
    network = llama(SIZE)
    texts = torch.tensor([[letter] * 4 + [END] for letter in range(2, 6)] + [[9] * 4 + [END]] * 2)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(60):
        loss = network(input_ids=texts, labels=texts).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return writer(network)


def actor_of(model: LanguageModel, score: Any = "mean") -> LikelihoodActor:
    observations, actions = selection_spaces(4, 1, state_size=1, max_chars=9)
    action = action_spec(actions, ("hand_over",))
    return LikelihoodActor(model, observation_spec(observations, action, 2), score)


def asked(context: str, *candidates: str, legal: tuple[bool, ...] = (True,) * 4) -> Any:
    mask = selection_mask(len(candidates), 4, (True,))
    mask[:4] &= np.array(legal, np.int8)
    return {
        "context": (context,) if context else (),
        "candidates": candidates,
        "state": np.ones(1, np.float32),
        "action_mask": mask,
    }


def picks(actor: LikelihoodActor, *observations: Any) -> list[Any]:
    return [choice.action for choice in actor.act(observations, [{}] * len(observations), RNG)]


@pytest.mark.parametrize("score", ["mean", "sum", "pmi"])
def test_the_rival_picks_the_candidate_that_follows_from_the_context(
    echo: LanguageModel, score: Any
) -> None:
    questions = [
        asked("a", "bbb", "ccc", "aaa", "ddd"),
        asked("b", "bbb", "aaa"),
        asked("c", "aaa", "ccc", "bbb"),
    ]
    assert picks(actor_of(echo, score), *questions) == [2, 0, 1]


def test_the_sum_prefers_short_candidates_and_the_mean_does_not(echo: LanguageModel) -> None:
    question = asked("a", "aaa", "d")
    scorer = CandidateScorer(echo)
    ((right, short),) = scorer.logprobs([[2]], [[[2, 2, 2, END], [5, END]]])
    assert right.mean() > short.mean()
    assert picks(actor_of(echo), question) == [0]
    long = asked("e", "efgefgefg", "g")
    ((lengthy, brief),) = scorer.logprobs([[6]], [[[6, 7, 8] * 3 + [END], [8, END]]])
    assert lengthy.sum() < brief.sum()
    assert picks(actor_of(echo, "sum"), long) == [1]


def test_pmi_takes_off_what_a_candidate_is_worth_without_the_context(echo: LanguageModel) -> None:
    actor = actor_of(echo, "pmi")
    ids = [[2, 2, 2, END], [9, 9, 9, END]]
    (after,) = CandidateScorer(echo).logprobs([[2]], [ids])
    (alone,) = CandidateScorer(echo).logprobs([[END]], [ids])
    ((first, second),) = actor._scores([[2]], [ids])
    assert first == pytest.approx(float(after[0].sum() - alone[0].sum()), abs=1e-4)
    assert second == pytest.approx(float(after[1].sum() - alone[1].sum()), abs=1e-4)


def test_the_rival_takes_legal_candidates_alone_and_else_a_legal_action(
    echo: LanguageModel,
) -> None:
    actor = actor_of(echo)
    assert picks(actor, asked("a", "bbb", "aaa", legal=(True, False, True, True))) == [0]
    assert picks(actor, asked("a", "bbb", "aaa", legal=(False,) * 4)) == [4]


def test_an_empty_candidate_is_the_end_token_and_an_empty_context_an_empty_prompt(
    echo: LanguageModel,
) -> None:
    ((said, nothing),) = CandidateScorer(echo).logprobs([[END]], [[[2, 2, 2, END], [END]]])
    best = int(nothing.mean() > said.mean())
    assert picks(actor_of(echo), asked("", "aaa", "")) == [best]
    assert picks(actor_of(echo), asked("", "", "aaa")) == [1 - best]


def experiment(**evaluation: Any) -> Experiment:
    fields = {"name": "toy", "task": {"id": "strategy_rl_envs:strategy_rl/TinyReply-v0"}}
    return Experiment.model_validate({**fields, "evaluation": evaluation})


def test_the_rival_is_off_by_default_and_on_where_a_model_is_named() -> None:
    from strategy_rl.assembly import make_policy, make_table, make_world
    from strategy_rl.judging import Actors

    backbone = {"model": "random:tiny", "max_tokens": 16}
    offered = {}
    for name in (None, "random:tiny"):
        asked_for = experiment(likelihood_model=name, likelihood_score="sum")
        asked_for = Experiment.model_validate({**asked_for.model_dump(), "backbone": backbone})
        world = make_world(asked_for)
        policy = make_policy(asked_for, world.train, make_table(asked_for.backbone, 0))
        actors = Actors(asked_for, world, policy, {}, lambda p=policy: p, lambda p=policy: p)
        offered[name] = actors.makers()
    assert experiment().evaluation.likelihood_model is None
    assert "likelihood" not in offered[None]
    actor = offered["random:tiny"]["likelihood"]()
    assert isinstance(actor, LikelihoodActor)
    assert actor.score == "sum"
