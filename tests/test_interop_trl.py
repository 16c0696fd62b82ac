"""Our reward functions in the form that TRL calls, and two of its trainers that train by them."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from datasets import Dataset
from tiny_backbones import make_tiny_backbone
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from strategy_rl_envs.interop import trl_reward
from strategy_rl_envs.kit.errors import RewardError, SettingError

WORDS = "the cat sat on a mat and saw two dogs run by my old red barn"


def brevity(output: str, *, target_words: int = 2) -> float:
    return min(1.0, target_words / max(1, len(output.split())))


def right(output: str, reference: str) -> float | None:
    return float(output == reference) if reference else None


def two_sides(output: str, source: str) -> dict[str, float | None]:
    return {"long": float(len(output)), "echo": float(output in source) if output else None}


def seen(output: str, source: str, context: tuple[str, ...], history: tuple[str, ...], ended: bool):
    assert isinstance(output, str)
    assert history == ()
    assert ended
    return float(len(context) * 100 + len(source) * 10 + len(output))


def by_hand(function: Any, completions: list[Any], **columns: Any) -> list[float | None]:
    """As TRL calls it, with all that TRL hands over."""
    prompts = columns.pop("prompts", ["a prompt"] * len(completions))
    given = {"trainer_state": object(), "log_extra": print, "completion_ids": [[1]] * len(prompts)}
    return function(prompts=prompts, completions=completions, **given, **columns)


def test_a_plain_function_scores_each_completion_times_the_weight() -> None:
    assert by_hand(trl_reward(brevity, weight=2.0), ["a", "a b c d"]) == [2.0, 1.0]
    assert by_hand(trl_reward(brevity, target_words=1), ["a", "a b"]) == [1.0, 0.5]


def test_columns_of_the_data_set_are_facts_and_none_stays_none() -> None:
    columns = {"reference": ["a", "b", ""], "unused": [1, 2, 3]}
    assert by_hand(trl_reward(right), ["a", "a", "a"], **columns) == [1.0, 0.0, None]


def test_prompts_and_completions_may_be_chats() -> None:
    prompt = [{"role": "system", "content": "12"}, {"role": "user", "content": "1234"}]
    said = [
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "assistant", "content": [{"type": "text", "text": "12345"}, {"type": "image"}]},
    ]
    assert by_hand(trl_reward(seen), [said], prompts=[prompt]) == [245.0]
    assert by_hand(trl_reward(seen), ["12345"], prompts=["1234"]) == [145.0]


def test_a_column_counts_before_the_prompt_and_the_completion_before_a_column() -> None:
    given = {"source": ["123456"], "output": ["not this"]}
    assert by_hand(trl_reward(seen), ["1"], **given) == [161.0]


def test_sub_scores_are_added_up_and_their_means_logged() -> None:
    logged: list[tuple[str, float]] = []
    scores = by_hand(
        trl_reward(two_sides, weight=0.5),
        ["aa", "zzzz", ""],
        source=["aab", "aab", "aab"],
        log_metric=lambda name, value: logged.append((name, value)),
    )
    assert scores == [1.5, 2.0, 0.0]
    assert logged == [("two_sides/long", 2.0), ("two_sides/echo", 0.5)]


def test_a_name_is_looked_up_in_the_library_and_logged_under_it() -> None:
    reward = trl_reward("exact_match")
    assert reward.__name__ == "exact_match"
    assert by_hand(reward, ["The cat!", "dog"], reference=["the cat", "the cat"]) == [1.0, 0.0]


def test_what_is_wrong_beforehand_is_refused_beforehand() -> None:
    with pytest.raises(SettingError, match="no reward function 'brevety'"):
        trl_reward("brevety")
    with pytest.raises(SettingError, match=r"settings\.target_word: "):
        trl_reward(brevity, target_word=3)
    with pytest.raises(SettingError, match="weight: expected a finite number"):
        trl_reward(brevity, weight=float("nan"))


def test_a_fact_that_no_column_gives_is_named() -> None:
    with pytest.raises(SettingError, match="wants 'reference', which the data set does not give"):
        by_hand(trl_reward(right), ["a"])


def test_a_failure_is_an_error_that_names_the_completion_and_never_a_zero() -> None:
    def fails_on_b(output: str) -> float:
        return {"a": 1.0}[output]

    with pytest.raises(RewardError, match=r"'fails_on_b'.* on row 1 raised KeyError: 'b'"):
        by_hand(trl_reward(fails_on_b), ["a", "b"])


def test_no_completions_need_no_columns() -> None:
    assert by_hand(trl_reward(right), []) == []


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny decoder with random weights that says the words of `WORDS`."""
    folder = make_tiny_backbone(tmp_path_factory.mktemp("speaker"), "decoder")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    base = transformers.AutoConfig.from_pretrained(folder)
    transformers.AutoModelForCausalLM.from_config(base).save_pretrained(folder)
    return folder


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("trainer", "config"), [(GRPOTrainer, GRPOConfig), (RLOOTrainer, RLOOConfig)]
)
def test_the_trainers_of_trl_train_two_steps_by_our_rewards(
    trainer: Any, config: Any, speaker: Path, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    rows = [{"prompt": "the cat", "reference": word} for word in itertools.islice(WORDS.split(), 8)]
    arguments = config(
        output_dir=str(tmp_path),
        max_steps=2,
        per_device_train_batch_size=4,
        num_generations=4,
        max_completion_length=6,
        learning_rate=1e-2,
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        seed=0,
    )
    made = trainer(
        model=str(speaker),
        reward_funcs=[trl_reward(brevity), trl_reward("token_f1"), trl_reward(two_sides)],
        args=arguments,
        train_dataset=Dataset.from_list(rows),
    )
    before = {name: p.detach().clone() for name, p in made.model.named_parameters()}
    made.train()
    logged = made.state.log_history[0]
    assert made.state.global_step == 2
    assert 0 < logged["rewards/brevity/mean"] <= 1
    assert "rewards/token_f1/mean" in logged
    assert logged["two_sides/long"] > 0
    moved = [n for n, p in made.model.named_parameters() if not torch.equal(p, before[n])]
    assert moved, "the rewards of a group differ, so the weights move"
