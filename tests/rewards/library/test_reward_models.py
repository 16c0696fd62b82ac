import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny_backbones import SENTENCE, edit_config, make_tiny_backbone

from strategy_rl_envs.kit.errors import SettingError
from strategy_rl_envs.rewards.models import classifier_score, embedding_similarity, fluency
from strategy_rl_envs.rewards.pretrained import load

TEXTS = [
    *("the cat sat on a mat", "two dogs run", "my old red barn", "a cat and two dogs", "run"),
    *(
        "",
        " ",
        "...",
        "😀",
        "\x00",
        "\ud800",
        "neverseen",
        "the cat " * 500,
        "两只狗",
        "run \ud800",
    ),
]
WORDY = [any(map(str.isalnum, text)) for text in TEXTS]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_tiny_backbone(tmp_path_factory.mktemp("encoder")))


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_tiny_backbone(tmp_path_factory.mktemp("decoder"), "decoder"))


def make_classifier(directory: Path, num_labels: int) -> str:
    make_tiny_backbone(directory)
    config = transformers.AutoConfig.from_pretrained(directory)
    config.id2label = {place: f"mark {place}" for place in range(num_labels)}
    torch.manual_seed(0)
    transformers.BertForSequenceClassification(config).save_pretrained(directory)
    return str(directory)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_classifier(tmp_path_factory.mktemp("classifier"), 3)


def check_batches(score: Any, *columns: list[str], **settings: Any) -> None:
    """One at a time, all at once and in another order give the same values, 0 to 1."""
    together = score(*columns, **settings)
    assert all(value is None or 0 <= value <= 1 for value in together)
    backward = score(*(column[::-1] for column in columns), **settings)
    assert backward[::-1] == pytest.approx(together, abs=1e-5)
    alone = [
        score(*([entry] for entry in row), **settings)[0] for row in zip(*columns, strict=True)
    ]
    assert alone == pytest.approx(together, abs=1e-5)
    assert score(*columns, **settings) == together


@pytest.mark.parametrize("kind", ["encoder", "roberta", "decoder"])
def test_similarity_of_any_texts_is_the_same_in_any_batch(kind: str, tmp_path: Path) -> None:
    model = str(make_tiny_backbone(tmp_path, kind))
    check_batches(embedding_similarity, TEXTS, TEXTS[3:] + TEXTS[:3], model=model)


def test_a_text_is_most_similar_to_itself(encoder: str) -> None:
    scores = embedding_similarity(["two dogs run"] * 3, TEXTS[:3], model=encoder)
    assert scores[1] == pytest.approx(1)
    assert max(scores[0], scores[2]) < 1


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_similarity_is_the_cosine_of_pooled_vectors(encoder: str, pooling: str) -> None:
    network = transformers.AutoModel.from_pretrained(encoder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(encoder)
    vectors = []
    for text in ("the cat sat", "the dogs run"):
        hidden = network(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        vectors.append(hidden.mean(0) if pooling == "mean" else hidden[0])
    cosine = torch.cosine_similarity(*vectors, dim=0).item()
    [score] = embedding_similarity(
        ["cat sat"], ["dogs run"], model=encoder, pooling=pooling, prefix="the "
    )
    assert score == pytest.approx((1 + cosine) / 2, abs=1e-5)


def test_similarity_abstains_without_a_reference_and_is_0_without_a_word(encoder: str) -> None:
    outputs, references = ["run", "run", "", "..."], [None, "", "run", "run"]
    assert embedding_similarity(outputs, references, model=encoder) == [None, None, 0, 0]


def test_class_probabilities_add_up_to_1_for_every_text_with_words(classifier: str) -> None:
    shares = [classifier_score(TEXTS, model=classifier, label=f"mark {i}") for i in range(3)]
    totals = [sum(values) for values in zip(*shares, strict=True)]
    assert totals == pytest.approx([float(wordy) for wordy in WORDY])
    check_batches(classifier_score, TEXTS, model=classifier, label="mark 1")


def test_a_model_of_one_number_is_taken_by_its_logistic(tmp_path: Path) -> None:
    model = make_classifier(tmp_path, 1)
    network = transformers.AutoModelForSequenceClassification.from_pretrained(model)
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    logit = network(**tokenizer("two dogs run", return_tensors="pt")).logits.item()
    [score] = classifier_score(["two dogs run"], model=model)
    assert score == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-5)


def test_a_pair_is_given_as_the_classifier_was_trained_on_pairs(classifier: str) -> None:
    network = transformers.AutoModelForSequenceClassification.from_pretrained(classifier)
    tokenizer = transformers.AutoTokenizer.from_pretrained(classifier)
    logits = network(**tokenizer("my old barn", "two dogs", return_tensors="pt")).logits
    scores = classifier_score(
        *(["two dogs"] * 2, ["my old barn", None]),
        model=classifier,
        label="mark 2",
        first="source",
    )
    assert scores[0] == pytest.approx(logits.softmax(-1)[0, 2].item(), abs=1e-5)
    assert scores[1] is None
    absent = classifier_score(["two dogs"], model=classifier, label="mark 2", first="reference")
    assert absent == [None]


def test_a_broken_model_gives_no_number_rather_than_0(tmp_path: Path) -> None:
    model = make_classifier(tmp_path, 2)
    network = transformers.AutoModelForSequenceClassification.from_pretrained(model)
    torch.nn.init.constant_(network.classifier.weight, math.nan)
    network.save_pretrained(model)
    [score] = classifier_score(["two dogs run"], model=model, label="mark 1")
    assert score is not None
    assert math.isnan(score)


def test_an_unknown_label_is_refused_with_those_there_are(classifier: str) -> None:
    with pytest.raises(SettingError, match=r"no label 'mark'.*known: mark 0, mark 1, mark 2"):
        classifier_score(["text"], model=classifier, label="mark")


def test_fluency_is_one_less_the_loss_by_its_greatest(decoder: str) -> None:
    network = transformers.AutoModelForCausalLM.from_pretrained(decoder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(decoder)
    found = []
    for text in TEXTS[:5]:
        ids = torch.tensor([[tokenizer.eos_token_id, *tokenizer(text)["input_ids"]]])
        loss = network(input_ids=ids, labels=ids).loss.item()
        found.append(max(0.0, 1 - loss / math.log(network.config.vocab_size)))
    assert fluency(TEXTS[:5], model=decoder) == pytest.approx(found, abs=1e-5)
    assert max(found) > 0
    check_batches(fluency, TEXTS, model=decoder)


def test_guessing_among_all_tokens_is_no_fluency(tmp_path: Path) -> None:
    make_tiny_backbone(tmp_path, "decoder")
    network = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.nn.init.zeros_(network.lm_head.weight)
    network.save_pretrained(tmp_path)
    assert fluency(TEXTS, model=str(tmp_path)) == pytest.approx([0] * len(TEXTS), abs=1e-6)


def test_a_model_that_foresees_its_text_is_fluent(tmp_path: Path) -> None:
    make_tiny_backbone(tmp_path, "decoder")
    network = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ids = torch.tensor([[tokenizer.eos_token_id, *tokenizer(SENTENCE)["input_ids"]]])
    adam = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(40):
        adam.zero_grad()
        network(input_ids=ids, labels=ids).loss.backward()
        adam.step()
    network.save_pretrained(tmp_path)
    shuffled = " ".join(sorted(SENTENCE.split()))
    learnt, other = fluency([SENTENCE, shuffled], model=str(tmp_path))
    assert learnt > 0.9
    assert other < 0.5


def test_a_model_is_loaded_once(encoder: str) -> None:
    assert load("AutoModel", encoder, "cpu", False) is load("AutoModel", encoder, "cpu", False)


@pytest.mark.parametrize("score", [classifier_score, fluency, embedding_similarity])
def test_a_reward_without_a_usable_model_says_what_to_do(score: Any, tmp_path: Path) -> None:
    columns = (["text"], ["text"]) if score is embedding_similarity else (["text"],)
    with pytest.raises(SettingError, match="model: none given; name a Hugging Face id"):
        score(*columns)
    for missing in (str(tmp_path / "missing"), "nobody/has-this-model"):
        with pytest.raises(SettingError, match=f"{missing}.*download: true asks the hub"):
            score(*columns, model=missing)


def test_weights_that_are_missing_are_not_made_up(encoder: str) -> None:
    with pytest.raises(SettingError, match=r"2 weights are missing, first 'classifier.bias'"):
        classifier_score(["text"], model=encoder)


def test_a_model_that_sees_what_follows_is_no_judge_of_fluency(tmp_path: Path) -> None:
    make_tiny_backbone(tmp_path)
    config = transformers.AutoConfig.from_pretrained(tmp_path)
    transformers.BertForMaskedLM(config).save_pretrained(tmp_path)
    with pytest.raises(SettingError, match="sees the tokens that follow"):
        fluency(["text"], model=str(tmp_path))


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    make_tiny_backbone(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(SettingError, match="safetensors"):
        embedding_similarity(["a"], ["a"], model=str(tmp_path))


def test_code_that_comes_with_a_model_is_not_run(tmp_path: Path) -> None:
    make_tiny_backbone(tmp_path)
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    edit_config(tmp_path, model_type="own", auto_map={"AutoModel": "own.Model"})
    with pytest.raises(SettingError, match="cannot be loaded as AutoModel"):
        embedding_similarity(["a"], ["a"], model=str(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_the_library_imports_neither_torch_nor_transformers_nor_sacrebleu() -> None:
    code = (
        "import sys, strategy_rl_envs.rewards.library\n"
        "print([name for name in ('torch', 'transformers', 'sacrebleu') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
