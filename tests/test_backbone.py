import json
import shutil
import urllib.request
from email.message import Message
from urllib.error import HTTPError

import pytest
import torch
import transformers
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from tiny_backbones import edit_config, make_tiny_backbone
from torch import nn

from strategy_rl.backbone import BackboneSettings, LoraSettings, load_backbone, loading, pool
from strategy_rl.errors import ModelError

KINDS = ["encoder", "roberta", "decoder", "encoder-decoder"]
TEXTS = ["the cat sat", "two dogs run by my old red barn", "a", "mat", ""]
FLOAT32 = BackboneSettings(dtype="float32", max_tokens=32)
LEARNING = ["lora", "last_n", "full"]


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {kind: make_tiny_backbone(root / kind, kind) for kind in KINDS}


@pytest.fixture
def encoder(folders, tmp_path):
    """A copy of the encoder's folder, to be damaged."""
    return shutil.copytree(folders["encoder"], tmp_path / "encoder")


def learner(folder, train, **changes):
    settings = {"train": train, "last_n": 1, "max_tokens": 32, "lora": LoraSettings(rank=2)}
    return load_backbone(folder, BackboneSettings(**settings | changes))


def encode(backbone, texts=TEXTS):
    return backbone.encode_tokens(backbone.tokenize(texts))


def change_weights(folder, change):
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


# Pooling, by hand: two rows of three tokens, the last token of row 0 is padding.
HIDDEN = torch.tensor([[[1.0, 2], [3, 6], [float("nan"), 9]], [[1, 0], [2, 0], [6, 3]]])
MASK = torch.tensor([[True, True, False], [True, True, True]])


@pytest.mark.parametrize(
    ("how", "expected"),
    [("mean", [[2, 4], [3, 1]]), ("cls", [[1, 2], [1, 0]]), ("last", [[3, 6], [6, 3]])],
)
def test_pooling_reads_the_tokens_of_a_text_and_never_its_padding(how, expected):
    assert pool(HIDDEN, MASK, how).tolist() == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_a_text_has_the_same_vector_alone_and_padded_beside_others(folders, kind, pooling):
    settings = BackboneSettings(dtype="float32", max_tokens=32, pooling=pooling)
    backbone = load_backbone(folders[kind], settings)
    together = encode(backbone)
    alone = torch.cat([encode(backbone, [text]) for text in TEXTS])
    assert together.shape == (len(TEXTS), 32)
    assert together.dtype == torch.float32
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)
    if (kind, pooling) not in {("decoder", "cls"), ("encoder", "cls"), ("roberta", "cls")}:
        assert (together[0] - together[1]).abs().max() > 1e-3


def test_many_texts_are_cut_into_passes_and_come_back_in_their_order(folders):
    backbone = load_backbone(folders["encoder"], FLOAT32)
    texts = [" ".join(["cat", "dogs", "mat"][i % 3] for _ in range(i % 29)) for i in range(400)]
    alone = torch.cat([encode(backbone, [text]) for text in texts[:60]])
    torch.testing.assert_close(encode(backbone, texts)[:60], alone, atol=1e-6, rtol=0)


def test_no_texts_give_no_vectors(folders):
    backbone = load_backbone(folders["encoder"], FLOAT32)
    assert backbone.tokenize([]) == []
    assert backbone.encode_tokens([]).shape == (0, 32)


@pytest.mark.parametrize(
    ("kind", "control"),
    [("encoder", "[SEP]"), ("roberta", "</s>"), ("decoder", "<eos>"), ("encoder-decoder", "</s>")],
)
def test_a_control_token_written_in_a_text_stays_text(folders, kind, control):
    backbone = load_backbone(folders[kind], FLOAT32)
    written, plain = backbone.tokenize([f"the {control}cat", "the xcat"])
    assert written == plain  # both are a word that it does not know


def test_a_long_text_is_cut_at_its_end_and_counted(folders):
    backbone = load_backbone(folders["encoder"], BackboneSettings(max_tokens=5))
    long, short, exact = backbone.tokenize(["the cat sat on a mat", "the cat", "the cat sat"])
    assert long == exact
    assert [len(long), len(short)] == [5, 4]
    assert backbone.num_truncated == 1


def test_the_prefix_stands_before_every_text(folders):
    plain = load_backbone(folders["encoder"], FLOAT32)
    prefixed = load_backbone(folders["encoder"], BackboneSettings(prefix="my old ", max_tokens=32))
    assert prefixed.tokenize(["cat"]) == plain.tokenize(["my old cat"])


def test_a_tokenizer_without_padding_gets_an_id_of_no_meaning(folders):
    backbone = load_backbone(folders["decoder"], FLOAT32)
    assert backbone.tokenizer.pad_token is None
    assert backbone._pad_id not in backbone.tokenizer.all_special_ids


@pytest.mark.parametrize("kind", KINDS)
def test_a_frozen_backbone_learns_nothing(folders, kind):
    backbone = load_backbone(folders[kind], FLOAT32)
    assert backbone.is_frozen
    assert backbone.trainable_parameters() == []
    assert backbone.save_trainable() == {}
    assert not encode(backbone).requires_grad


@pytest.mark.parametrize("kind", KINDS)
def test_last_n_learns_the_last_blocks_and_nothing_else(folders, kind):
    backbone = learner(folders[kind], "last_n")
    encode(backbone).square().sum().backward()
    changed = [n for n, p in backbone.network.named_parameters() if p.grad is not None]
    last = {"decoder": "layers.1.", "encoder-decoder": "block.1."}.get(kind, "encoder.layer.1.")
    assert changed
    assert all(name.startswith(last) for name in changed)
    assert len(changed) == len(backbone.trainable_parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_full_gives_every_weight_a_gradient(folders, kind):
    backbone = learner(folders[kind], "full")
    encode(backbone).square().sum().backward()
    assert all(p.grad is not None for p in backbone.network.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_alone_learn_and_change_nothing_at_first(folders, kind):
    backbone = learner(folders[kind], "lora")
    frozen = load_backbone(folders[kind], FLOAT32)
    torch.testing.assert_close(encode(backbone), encode(frozen), atol=1e-6, rtol=0)
    encode(backbone).square().sum().backward()
    changed = [n for n, p in backbone.network.named_parameters() if p.grad is not None]
    assert changed
    assert all("lora_" in name for name in changed)


def test_adapters_start_the_same_for_a_seed_and_leave_the_global_generator_alone(folders):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, two = (learner(folders["encoder"], "lora").save_trainable() for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("train", LEARNING)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_restores_every_bit(folders, tmp_path, kind, train):
    backbone = learner(folders[kind], train)
    with torch.no_grad():
        for parameter in backbone.trainable_parameters():
            parameter += 0.1
    saved = backbone.save_trainable()
    expected = encode(backbone)
    backbone.save_full(tmp_path / "full")
    again = learner(tmp_path / "full", train)
    again.load_trainable(saved)
    assert torch.equal(encode(again), expected)
    assert again.digest == backbone.digest


def test_saved_weights_are_a_copy(folders):
    backbone = learner(folders["encoder"], "last_n")
    saved = backbone.save_trainable()
    name, first = next(iter(saved.items()))
    kept = first.clone()
    with torch.no_grad():
        backbone.trainable_parameters()[0].zero_()
    assert torch.equal(saved[name], kept)


def test_weights_of_other_settings_are_refused_by_name(folders):
    saved = learner(folders["encoder"], "lora").save_trainable()
    with pytest.raises(ModelError, match=r"train=last_n: encoder\.layer\.0.* and \d+ more"):
        learner(folders["encoder"], "last_n").load_trainable(saved)


def test_a_saved_folder_follows_the_umask(folders, tmp_path):
    load_backbone(folders["encoder"], FLOAT32).save_full(tmp_path / "full")
    (tmp_path / "plain").touch()
    mode = (tmp_path / "full" / "model.safetensors").stat().st_mode
    assert mode == (tmp_path / "plain").stat().st_mode


def test_training_mode_changes_no_vector_of_the_pretrained_network(folders):
    backbone = learner(folders["encoder"], "full").train()
    assert torch.equal(encode(backbone), encode(backbone.eval()))


def test_adapter_dropout_acts_in_training_mode_alone(folders):
    backbone = learner(folders["encoder"], "lora", lora=LoraSettings(rank=2, dropout=0.5))
    with torch.no_grad():
        for parameter in backbone.trainable_parameters():
            parameter += 0.5
    assert torch.equal(encode(backbone), encode(backbone))
    backbone.train()
    assert not torch.equal(encode(backbone), encode(backbone))


def test_the_digest_tells_apart_what_gives_other_features(folders, encoder):
    def digest(**changes):
        settings = BackboneSettings(**{"dtype": "float32", "max_tokens": 32} | changes)
        return load_backbone(encoder, settings).digest

    digests = [
        digest(),
        digest(pooling="cls"),
        digest(prefix="a "),
        digest(max_tokens=31),
        digest(dtype="bfloat16"),
        load_backbone(folders["roberta"], FLOAT32).digest,
    ]
    change_weights(encoder, lambda w: {k: v + 1e-3 * (v.dim() > 1) for k, v in w.items()})
    digests.append(digest())
    edit_config(encoder, hidden_act="relu")
    digests.append(digest())
    assert len(set(digests)) == len(digests)


def test_the_digest_does_not_change_with_use_or_a_copy(folders, tmp_path):
    backbone = load_backbone(folders["encoder"], FLOAT32)
    before = backbone.digest
    encode(backbone)
    backbone.save_full(tmp_path / "copy")
    assert load_backbone(tmp_path / "copy", FLOAT32).digest == before


def test_missing_weights_are_refused_by_name(encoder):
    gone = "encoder.layer.1.attention.self.query.weight"
    change_weights(encoder, lambda w: {k: v for k, v in w.items() if k != gone})
    with pytest.raises(ModelError, match=f"missing {gone}, unexpected none"):
        load_backbone(encoder)


def test_weights_that_the_network_has_no_place_for_are_refused_by_name(encoder):
    edit_config(encoder, num_hidden_layers=1)
    with pytest.raises(ModelError, match=r"missing none, unexpected encoder\.layer\.1\."):
        load_backbone(encoder)


def test_weights_of_another_shape_are_refused(encoder):
    edit_config(encoder, intermediate_size=48)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_backbone(encoder)


def test_a_pooler_may_be_missing_and_a_head_of_another_task_left_over(encoder):
    expected = encode(load_backbone(encoder, FLOAT32))

    def change(weights):
        kept = {k: v for k, v in weights.items() if "pooler" not in k}
        return kept | {"cls.predictions.bias": torch.zeros(3)}

    change_weights(encoder, change)
    assert torch.equal(encode(load_backbone(encoder, FLOAT32)), expected)


@pytest.mark.parametrize(("kind", "most"), [("encoder", 64), ("roberta", 62), ("decoder", 64)])
def test_texts_longer_than_the_positions_are_refused_at_the_start(folders, kind, most):
    encode(load_backbone(folders[kind], BackboneSettings(max_tokens=most)), ["a " * 99])
    with pytest.raises(ModelError, match=rf"max_tokens is {most + 1}.* to {most} tokens"):
        load_backbone(folders[kind], BackboneSettings(max_tokens=most + 1))


def test_a_limit_with_no_room_for_a_word_is_refused(folders):
    with pytest.raises(ModelError, match=r"max_tokens is 2.*3 to 64 tokens"):
        load_backbone(folders["encoder"], BackboneSettings(max_tokens=2))


def test_the_tokenizer_of_a_larger_model_is_refused(encoder, tmp_path):
    other = make_tiny_backbone(tmp_path / "other", texts=[" ".join(map(str, range(99)))])
    shutil.copy(other / "tokenizer.json", encoder)
    with pytest.raises(ModelError, match="ids up to 102, the model knows 20 tokens"):
        load_backbone(encoder, FLOAT32)


@pytest.mark.parametrize("gone", ["tokenizer.json", "config.json", "model.safetensors"])
def test_an_incomplete_folder_is_refused(encoder, gone):
    (encoder / gone).unlink()
    with pytest.raises(ModelError, match=r"cannot be loaded.*expected a Hugging Face folder"):
        load_backbone(encoder, FLOAT32)


def test_pickled_weights_are_not_read(encoder):
    weights = load_file(encoder / "model.safetensors")
    (encoder / "model.safetensors").unlink()
    torch.save(weights, encoder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_backbone(encoder, FLOAT32)


def test_a_cut_weights_file_is_refused(encoder):
    path = encoder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_backbone(encoder, FLOAT32)


def test_code_that_a_model_brings_is_never_run(encoder, tmp_path):
    canary = tmp_path / "canary"
    (encoder / "own.py").write_text(f"open({str(canary)!r}, 'w')\n")
    config = json.loads((encoder / "config.json").read_text())
    own = {"AutoConfig": "own.Config", "AutoModel": "own.Model"}
    config |= {"auto_map": own, "model_type": "own", "trust_remote_code": True}
    (encoder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_backbone(encoder, FLOAT32)
    assert not canary.exists()


@pytest.mark.parametrize("name", ["./none", "/none/such", "~/none", "a/b/c"])
def test_a_folder_that_is_not_there_is_refused_without_asking_the_hub(name):
    with pytest.raises(ModelError, match="no such folder"):
        load_backbone(name)


def test_a_hub_id_without_a_connection_says_what_to_do(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"'nobody/none'.*cannot be reached.*give a folder"):
        load_backbone("nobody/none")


def answer_as_a_hub(monkeypatch, folder, error):
    """A hub that answers, and whose model `nobody/none` is not in the local cache yet."""
    read, asked = loading._read, []

    def answer(request, timeout):
        raise HTTPError(request.full_url, 403, "Forbidden", Message(), None)

    def fetch(model, dtype, attention, options):
        asked.append(options.get("local_files_only", False))
        if asked[-1]:
            raise OSError("not in the cache")
        if error:
            raise error
        return read(str(folder), dtype, attention, options)

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    monkeypatch.setattr(loading, "_read", fetch)
    return asked


def test_a_model_that_is_not_in_the_local_cache_comes_from_the_hub(folders, monkeypatch):
    asked = answer_as_a_hub(monkeypatch, folders["encoder"], None)
    assert load_backbone("nobody/none", FLOAT32).hidden_size == 32
    assert asked == [True, False]


def test_a_model_that_the_hub_does_not_have_is_refused(folders, monkeypatch):
    answer_as_a_hub(monkeypatch, folders["encoder"], OSError("404"))
    with pytest.raises(ModelError, match="'nobody/none' cannot be loaded: OSError: 404"):
        load_backbone("nobody/none")


def test_the_base_digest_is_of_the_weights_that_do_not_learn(folders):
    backbone = learner(folders["encoder"], "lora")
    base, whole = backbone.base_digest, backbone.digest
    with torch.no_grad():
        backbone.trainable_parameters()[0] += 1
    assert backbone.base_digest == base
    assert backbone.digest != whole


@pytest.mark.parametrize("train", LEARNING)
def test_weights_that_learn_are_float32(folders, train):
    backbone = learner(folders["encoder"], train)
    assert {p.dtype for p in backbone.parameters()} == {torch.float32}
    with pytest.raises(ModelError, match=f"bfloat16 with train={train}"):
        learner(folders["encoder"], train, dtype="bfloat16")


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": False, "avx2": True}, torch.float32),
    ],
)
def test_frozen_weights_are_bfloat16_where_the_processor_is_fast_at_it(
    folders, monkeypatch, capabilities, expected
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    backbone = load_backbone(folders["encoder"], BackboneSettings(max_tokens=32))
    assert {p.dtype for p in backbone.parameters()} == {expected}
    assert encode(backbone).dtype == torch.float32


def test_adapters_for_layers_that_do_not_exist_name_those_that_do(folders):
    with pytest.raises(ModelError, match=r"target_modules is \('nope',\).*dense.*query"):
        learner(folders["encoder"], "lora", lora=LoraSettings(target_modules=("nope",)))


def test_more_last_blocks_than_there_are_is_refused(folders):
    with pytest.raises(ModelError, match=r"last_n is 3, but .* has 2 blocks"):
        learner(folders["encoder"], "last_n", last_n=3)


def test_blocks_that_share_weights_cannot_learn_one_by_one(folders, tmp_path):
    config = transformers.AlbertConfig(
        vocab_size=20,
        embedding_size=8,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
    )
    transformers.AlbertModel(config).save_pretrained(tmp_path / "albert")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folders["encoder"] / name, tmp_path / "albert")
    with pytest.raises(ModelError, match="no list of 2 blocks; use lora or full"):
        learner(tmp_path / "albert", "last_n")


def test_loading_prints_nothing_and_leaves_the_library_as_it_was(folders, capfd):
    log = transformers.utils.logging
    before = log.get_verbosity(), log.is_progress_bar_enabled()
    load_backbone(folders["decoder"], FLOAT32)
    assert capfd.readouterr() == ("", "")
    assert (log.get_verbosity(), log.is_progress_bar_enabled()) == before


def test_random_tiny_is_the_same_model_every_time_and_reads_any_text():
    torch.manual_seed(3)
    one = load_backbone("random:tiny", BackboneSettings(dtype="float32"))
    torch.manual_seed(4)
    two = load_backbone("random:tiny", BackboneSettings(dtype="float32"))
    assert one.digest == two.digest
    assert 150_000 < sum(p.numel() for p in one.parameters()) < 250_000
    vectors = encode(one, ["你好", "hello", "hallo 😀", ""])
    assert vectors.isfinite().all()
    assert len({tuple(row) for row in vectors.tolist()}) == 4
    (tokens,) = one.tokenize(["你好 [CLS] 😀\x00"])
    assert one.tokenizer.unk_token_id not in tokens


@pytest.mark.parametrize("train", LEARNING)
def test_a_few_steps_bring_the_vector_to_a_goal(folders, train):
    backbone = learner(folders["encoder"], train)
    head = nn.Linear(32, 1)
    goal = torch.tensor([[1.0], [-1.0]])
    optimizer = torch.optim.Adam([*backbone.trainable_parameters()], lr=1e-2)
    losses = []
    for _ in range(30):
        loss = (head(encode(backbone, ["the cat", "two dogs"])) - goal).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
