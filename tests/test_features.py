import errno
import logging
import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from tiny_backbones import SENTENCE, make_tiny_backbone

import strategy_rl.features.cache as cache_module
from strategy_rl.assembly import make_table
from strategy_rl.backbone import Backbone, BackboneSettings, load_backbone
from strategy_rl.config import BackboneConfig
from strategy_rl.errors import MemoryFault, ModelError
from strategy_rl.features import FeatureCache, TextTable
from strategy_rl.features.cache import _blocks, _bucket
from strategy_rl.files import disk

WORDS = SENTENCE.split()
LARGE = 10**9


def sentences(count, seed=0):
    """Distinct texts of 1 to 40 words."""
    rng = random.Random(seed)
    texts = {" ".join(rng.choices(WORDS, k=rng.randint(1, 40))) for _ in range(3 * count)}
    return sorted(texts)[:count]


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def backbone(request, tmp_path_factory):
    folder = make_tiny_backbone(tmp_path_factory.mktemp("models") / "tiny")
    return load_backbone(folder, BackboneSettings(dtype=request.param, max_tokens=64))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_tiny_backbone(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def frozen(tiny):
    return load_backbone(tiny, BackboneSettings(dtype="float32", max_tokens=64))


@pytest.fixture
def encoded(monkeypatch):
    """How many texts each forward pass has encoded since the test began."""
    counts = []
    original = Backbone.encode_block

    def counting(self, tokens, width, num_rows):
        counts.append(len(tokens))
        return original(self, tokens, width, num_rows)

    monkeypatch.setattr(Backbone, "encode_block", counting)
    return counts


def shards(root):
    return sorted(root.glob("*/shard-*.safetensors"))


def check_same_bytes_cold_half_filled_and_warm(backbone, texts, root):
    cold = FeatureCache(backbone, root / "cold", LARGE).features(texts)
    shuffled = random.Random(1).sample(texts, len(texts))
    half = FeatureCache(backbone, root / "half", LARGE)
    half.features(shuffled[: len(texts) // 2])
    assert torch.equal(half.features(texts), cold)
    assert torch.equal(half.features(texts), cold)  # from memory
    assert torch.equal(FeatureCache(backbone, root / "half", LARGE).features(texts), cold)
    order = [texts.index(text) for text in shuffled]
    alone = FeatureCache(backbone, None, 0)
    assert torch.equal(alone.features(shuffled), cold[order])
    for i in range(0, len(texts), max(1, len(texts) // 9)):
        assert torch.equal(FeatureCache(backbone, None, 0).features([texts[i]])[0], cold[i])


def test_a_cold_a_half_filled_and_a_warm_cache_give_equal_bytes(backbone, tmp_path):
    check_same_bytes_cold_half_filled_and_warm(backbone, sentences(150), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_real_encoder_gives_equal_bytes_cold_half_filled_and_warm(dtype, tmp_path):
    from strategy_rl.models import resolve_model

    folder = resolve_model("package:all-minilm-l6-v2")
    backbone = load_backbone(folder, BackboneSettings(dtype=dtype))
    texts = sentences(600) + [" ".join(WORDS * n) for n in range(1, 12)]  # also cut ones
    check_same_bytes_cold_half_filled_and_warm(backbone, texts, tmp_path)


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join), max_size=12))
def test_features_come_in_the_order_of_the_texts_whatever_is_asked_together(frozen, texts):
    together = FeatureCache(frozen, None, 0).features(texts)
    assert together.shape == (len(texts), 32)
    for text, row in zip(texts, together, strict=True):
        assert torch.equal(FeatureCache(frozen, None, 0).features([text])[0], row)


@pytest.mark.parametrize(
    ("length", "width"), [(1, 8), (8, 8), (9, 16), (121, 128), (128, 128), (129, 160), (161, 192)]
)
def test_a_width_follows_from_the_length_alone(length, width):
    assert _bucket(length) == width


def test_blocks_have_512_tokens_at_most_and_one_row_at_least():
    lengths = [3] * 65 + [128] * 5 + [600]
    shapes = [(width, rows, len(members)) for width, rows, members in _blocks(lengths, 1000)]
    assert shapes == [(8, 64, 64), (8, 64, 1), (128, 4, 4), (128, 4, 1), (608, 1, 1)]


def test_no_block_is_wider_than_the_longest_text_allowed():
    assert [width for width, _, _ in _blocks([9, 10], 10)] == [10]


def test_a_text_is_encoded_once(frozen, tmp_path, encoded):
    cache = FeatureCache(frozen, tmp_path, LARGE)
    cache.features(["the cat", "a mat", "the cat"])
    cache.features(["a mat", "the cat"])
    FeatureCache(frozen, tmp_path, LARGE).features(["the cat", "two dogs"])
    assert encoded == [2, 1]


def test_features_of_a_model_that_reads_otherwise_are_not_taken(tiny, tmp_path, encoded):
    for pooling in ("mean", "cls"):
        settings = BackboneSettings(dtype="float32", pooling=pooling, max_tokens=64)
        FeatureCache(load_backbone(tiny, settings), tmp_path, LARGE).features(["the cat"])
    assert encoded == [1, 1]
    assert len({path.parent for path in shards(tmp_path)}) == 2


def test_another_number_of_threads_has_its_own_folder(frozen, tmp_path):
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            FeatureCache(frozen, tmp_path, LARGE).features(["the cat"])
    finally:
        torch.set_num_threads(before)
    assert len({path.parent for path in shards(tmp_path)}) == 2


def _cut(data):
    return data[:-5]


def _flip_last(data):
    return data[:-1] + bytes([data[-1] ^ 1])


def _flip_header(data):
    return data[:3] + bytes([data[3] ^ 255]) + data[4:]


@pytest.mark.parametrize("damage", [_cut, _flip_last, _flip_header, lambda data: b""])
def test_a_damaged_shard_is_named_and_its_texts_are_encoded_again(
    frozen, tmp_path, caplog, encoded, damage
):
    texts = sentences(20)
    expected = FeatureCache(frozen, tmp_path, LARGE).features(texts)
    (shard,) = shards(tmp_path)
    shard.write_bytes(damage(shard.read_bytes()))
    encoded.clear()
    assert torch.equal(FeatureCache(frozen, tmp_path, LARGE).features(texts), expected)
    assert sum(encoded) == 20
    assert str(shard) in caplog.text
    assert "damaged" in caplog.text
    encoded.clear()
    assert torch.equal(FeatureCache(frozen, tmp_path, LARGE).features(texts), expected)
    assert encoded == []


@pytest.mark.parametrize("part", ["keys", "features"])
def test_a_shard_of_another_shape_is_damaged(frozen, tmp_path, caplog, part):
    expected = FeatureCache(frozen, tmp_path, LARGE).features(["the cat"])
    (shard,) = shards(tmp_path)
    parts = load_file(shard)
    parts[part] = np.ascontiguousarray(parts[part][:, :8])
    save_file(parts, shard)
    assert torch.equal(FeatureCache(frozen, tmp_path, LARGE).features(["the cat"]), expected)
    assert "of shape (1, 8)" in caplog.text


def test_many_texts_are_stored_while_they_are_encoded(frozen, tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "_SHARD_ROWS", 40)
    stored = []
    texts = sentences(100)
    cache = FeatureCache(frozen, tmp_path, LARGE)
    found = cache.features(texts, lambda *_: stored.append(len(shards(tmp_path))))
    assert stored[0] == 0
    assert stored[-1] >= 1
    assert torch.equal(FeatureCache(frozen, tmp_path, LARGE).features(texts), found)


def test_what_a_killed_process_left_is_ignored(frozen, tmp_path, caplog):
    texts = sentences(20)
    expected = FeatureCache(frozen, tmp_path, LARGE).features(texts)
    (shard,) = shards(tmp_path)
    left = shard.with_name(f".tmp-{shard.name}-0123abcd")
    left.write_bytes(shard.read_bytes()[:100])
    (shard.parent / "notes.txt").write_text("not ours")
    assert torch.equal(FeatureCache(frozen, tmp_path, LARGE).features(texts), expected)
    assert caplog.text == ""


def test_the_oldest_shards_are_dropped_by_number_and_not_by_time(frozen, tmp_path, encoded):
    groups = [sentences(20, seed) for seed in range(4)]
    bound = 0
    for age, texts in enumerate(groups):
        cache = FeatureCache(frozen, tmp_path, bound or LARGE)
        cache.features(texts)
        newest = shards(tmp_path)[-1]
        bound = bound or 3 * newest.stat().st_size + 100
        os.utime(newest, (10_000 - age, 10_000 - age))  # a clock that runs backwards
    assert sum(path.stat().st_size for path in shards(tmp_path)) <= bound
    assert [int(path.name[6:16]) for path in shards(tmp_path)] == [2, 3, 4]
    encoded.clear()
    FeatureCache(frozen, tmp_path, bound).features(groups[1] + groups[2] + groups[3])
    assert encoded == []


def test_left_overs_of_killed_processes_count_and_go_first(frozen, tmp_path):
    FeatureCache(frozen, tmp_path, LARGE).features(["the cat"])
    (shard,) = shards(tmp_path)
    left = shard.with_name(f".tmp-{shard.name}-0123abcd")
    shard.rename(left)
    FeatureCache(frozen, tmp_path, left.stat().st_size + 10).features(["a mat"])
    assert not left.exists()
    assert len(shards(tmp_path)) == 1


def test_a_shard_that_another_process_dropped_is_encoded_again(frozen, tmp_path, caplog):
    expected = FeatureCache(frozen, tmp_path, LARGE).features(["the cat"])
    reader = FeatureCache(frozen, tmp_path, LARGE)
    shards(tmp_path)[0].unlink()
    assert torch.equal(reader.features(["the cat"]), expected)
    assert caplog.text == ""


def test_two_caches_may_write_to_one_folder_at_once(frozen, tmp_path, encoded):
    one, two = (FeatureCache(frozen, tmp_path, LARGE) for _ in range(2))
    one.features(["the cat", "a mat"])
    two.features(["a mat", "two dogs"])
    encoded.clear()
    FeatureCache(frozen, tmp_path, LARGE).features(["the cat", "a mat", "two dogs"])
    assert encoded == []


@pytest.mark.slow
def test_processes_that_write_at_once_damage_nothing(tiny, frozen, tmp_path, caplog):
    script = """
import sys
from pathlib import Path
from strategy_rl.backbone import BackboneSettings, load_backbone
from strategy_rl.features import FeatureCache
backbone = load_backbone(sys.argv[1], BackboneSettings(dtype="float32", max_tokens=64))
cache = FeatureCache(backbone, Path(sys.argv[2]), 300_000)
for i in range(200):
    cache.features([f"{'the cat ' * (j % 20)}{sys.argv[3]}" for j in range(i, i + 5)])
    cache.features([" ".join(["mat"] * (1 + i % 60))])
"""
    command = [sys.executable, "-c", script, str(tiny), str(tmp_path)]
    workers = [subprocess.Popen([*command, word]) for word in ("dogs", "barn", "red")]
    assert [worker.wait(timeout=300) for worker in workers] == [0, 0, 0]
    texts = [" ".join(["mat"] * n) for n in range(1, 61)]
    stored = FeatureCache(frozen, tmp_path, LARGE).features(texts)
    assert torch.equal(stored, FeatureCache(frozen, None, 0).features(texts))
    assert caplog.text == ""
    assert sum(path.stat().st_size for path in tmp_path.glob("*/*shard-*")) <= 310_000


def test_a_full_disk_stops_the_storing_and_nothing_else(frozen, tmp_path, caplog, monkeypatch):
    expected = FeatureCache(frozen, None, 0).features(["the cat", "a mat"])

    def full(file, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(disk, "write", full)
    cache = FeatureCache(frozen, tmp_path, LARGE)
    with caplog.at_level(logging.WARNING):
        found = torch.cat([cache.features(["the cat"]), cache.features(["a mat"])])
    assert torch.equal(found, expected)
    assert caplog.text.count("no longer stored") == 1
    assert list(tmp_path.glob("*/*")) == []


def test_memory_keeps_the_rows_used_last(frozen, encoded):
    cache = FeatureCache(frozen, None, 0, memory_bytes=2 * (32 * 4 + 200))
    for text in ("a", "mat", "a", "cat"):  # mat is the oldest when cat comes
        cache.features([text])
    encoded.clear()
    cache.features(["a", "cat"])
    assert encoded == []
    cache.features(["mat"])
    assert encoded == [1]


def test_more_texts_than_memory_has_room_for_are_all_returned(frozen):
    texts = sentences(50)
    small = FeatureCache(frozen, None, 0, memory_bytes=1000)
    assert torch.equal(small.features(texts), FeatureCache(frozen, None, 0).features(texts))


def test_numbers_that_are_not_finite_name_their_text(tiny):
    backbone = load_backbone(tiny, BackboneSettings(dtype="float32", max_tokens=64))
    word = backbone.tokenize(["barn"])[0][1]
    with torch.no_grad():
        backbone.network.get_input_embeddings().weight[word] = float("nan")
    FeatureCache(backbone, None, 0).features(["the cat"])
    with pytest.raises(ModelError, match="not finite for the text 'my old red barn'"):
        FeatureCache(backbone, None, 0).features(["my old red barn"])


def test_a_backbone_that_learns_has_no_features_to_keep(tiny, tmp_path):
    backbone = load_backbone(tiny, BackboneSettings(train="full", max_tokens=64))
    with pytest.raises(ValueError, match="only a frozen backbone"):
        FeatureCache(backbone, tmp_path, LARGE)


def test_progress_is_told_and_nothing_is_drawn_off_a_terminal(frozen, capfd):
    told = []
    FeatureCache(frozen, None, 0).features(sentences(100), lambda *done: told.append(done))
    FeatureCache(frozen, None, 0).features(["the cat"])
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (100, 100)
    assert capfd.readouterr() == ("", "")


# The table of a run.


@pytest.fixture
def learning(tiny):
    return load_backbone(tiny, BackboneSettings(train="full", max_tokens=64))


def test_ids_count_distinct_texts_from_0_and_stay(frozen):
    table = TextTable(frozen)
    assert table.ids(["a mat", "the cat", "a mat"]) == [0, 1, 0]
    assert table.ids(["two dogs", "the cat"]) == [2, 1]
    assert table.ids([]) == []
    assert [table.text(i) for i in range(len(table))] == ["a mat", "the cat", "two dogs"]
    with pytest.raises(IndexError, match="id -1 stands for no text"):
        table.text(-1)


def test_texts_not_met_before_are_encoded_together_and_once(frozen, encoded):
    table = TextTable(frozen)
    table.prepare(["the cat", "a mat"])
    table.ids(["two dogs", "the cat", "red barn", "two dogs"])
    table.prepare(["red barn"])
    assert encoded == [2, 2]


@pytest.mark.parametrize("train", ["frozen", "full"])
def test_no_text_is_the_zero_vector_and_every_text_has_unit_mean_square(tiny, train):
    table = TextTable(load_backbone(tiny, BackboneSettings(train=train, max_tokens=64)))
    cat, mat = table.ids(["the cat", "a mat"])
    vectors = table.embed(torch.tensor([[cat, -1, mat], [mat, -1, -1]]))
    assert vectors.shape == (2, 3, 32)
    assert torch.equal(vectors[0, 2], vectors[1, 0])
    squares = vectors.detach().square().mean(-1)
    torch.testing.assert_close(squares, torch.tensor([[1.0, 0, 1], [1, 0, 0]]))
    without = table.embed(torch.tensor([mat, cat]))  # no -1 among them
    assert torch.equal(without.detach().abs().sum(-1) > 0, torch.tensor([True, True]))
    assert table.embed(torch.tensor([-1])).abs().sum() == 0
    assert table.embed(torch.empty(0, 3, dtype=torch.long)).shape == (0, 3, 32)


def test_vectors_point_where_the_cached_features_do(frozen):
    table = TextTable(frozen)
    texts = sentences(10)
    ids = np.array([*table.ids(texts), -1])
    features = FeatureCache(frozen, None, 0).features(texts)
    cosines = torch.nn.functional.cosine_similarity(
        torch.from_numpy(table.vectors(ids)[:-1]), features
    )
    torch.testing.assert_close(cosines, torch.ones(10))
    assert not table.vectors(ids)[-1].any()


def test_a_table_filled_bit_by_bit_equals_one_filled_at_once(frozen, tmp_path):
    texts = sentences(70)
    cache = FeatureCache(frozen, tmp_path, LARGE)
    at_once, bit_by_bit = TextTable(frozen, cache), TextTable(frozen)
    at_once.prepare(texts)
    for text in texts:
        bit_by_bit.ids([text])
    ids = torch.arange(70)
    assert torch.equal(at_once.embed(ids), bit_by_bit.embed(ids))


def test_a_table_of_a_learning_backbone_agrees_with_a_frozen_one(frozen, learning):
    texts = sentences(30)
    one, two = TextTable(frozen), TextTable(learning)
    ids = torch.tensor([one.ids(texts), two.ids(texts)])
    torch.testing.assert_close(one.embed(ids[0]), two.embed(ids[1]), atol=1e-5, rtol=0)


def test_gradients_reach_the_backbone_and_repeated_texts_add_up(learning):
    table = TextTable(learning)
    cat, mat = table.ids(["the cat", "a mat"])

    def gradient(ids):
        learning.zero_grad()
        table.embed(torch.tensor(ids))[..., 0].sum().backward()
        return learning.trainable_parameters()[0].grad.clone()

    twice = gradient([[cat, -1], [cat, mat]])
    torch.testing.assert_close(twice, 2 * gradient([cat]) + gradient([mat]))
    assert twice.abs().sum() > 0


def test_a_learning_backbone_encodes_a_repeated_text_once_a_call(learning, encoded):
    table = TextTable(learning)
    cat, mat = table.ids(["the cat", "a mat"])
    assert encoded == []
    table.embed(torch.tensor([[cat, mat, cat], [cat, -1, cat]]))
    assert encoded == [2]


def test_vectors_follow_the_weights_of_a_learning_backbone(learning):
    table = TextTable(learning)
    ids = torch.tensor(table.ids(["the cat"]))
    before, saved = table.embed(ids), learning.save_trainable()
    with torch.no_grad():
        for parameter in learning.trainable_parameters():
            parameter.mul_(1.1)
    assert not torch.equal(table.embed(ids), before)
    learning.load_trainable(saved)
    assert torch.equal(table.embed(ids), before)


def test_the_table_of_a_run_is_the_only_one_that_keeps_its_vectors_in_memory(tmp_path):
    table = make_table(BackboneConfig(model="random:tiny", cache_dir=str(tmp_path)), seed=0)
    table.prepare(["the cat", "a mat"])
    assert len(table) == 2
    assert len(table._cache._memory) == 0
    assert list(tmp_path.rglob("shard-*"))


def test_a_bound_on_memory_is_kept_and_the_table_stays_whole(frozen):
    table = TextTable(frozen, max_bytes=4 * 32 * 4)
    table.prepare(["a", "mat", "cat"])
    with pytest.raises(MemoryFault, match=r"4 texts x 32 numbers take 640 bytes, .* 512"):
        table.ids(["dogs"])
    assert len(table) == 3
    assert table.ids(["cat", "a"]) == [2, 0]
