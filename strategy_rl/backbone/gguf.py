"""A GGUF file, whose weights are packed in few bits, to a folder that loads at once and can learn.

A program of its own, `python -m strategy_rl.backbone.gguf FILE FOLDER`: unpacking takes seconds
and a gigabyte, which the process that asked for the model does not keep.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import transformers

from strategy_rl.backbone.quiet import quiet
from strategy_rl.errors import ModelError


def convert(file: Path, folder: Path) -> None:
    """Write a model as float32 safetensors, with its configuration, tokenizer and chat template.

    Args:
        file: The GGUF file; of an architecture that transformers can unpack.
        folder: Where the files go; it exists.

    Raises:
        ModelError: The file is damaged, or no writer with a tokenizer and an end token.
    """
    options = {"gguf_file": file.name, "local_files_only": True}
    try:
        with quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(file.parent, **options)
            # Without `dequantize` the weights may stay packed: they can then not learn or be saved.
            network = transformers.AutoModelForCausalLM.from_pretrained(
                file.parent,
                dtype=torch.float32,
                quantization_config=transformers.GgufConfig(dequantize=True),
                **options,
            )
    except (OSError, ValueError, RuntimeError, ImportError, KeyError, IndexError) as error:
        reason = " ".join(str(error).split())[:500]
        raise ModelError(
            f"{file.name} cannot be unpacked: {type(error).__name__}: {reason}; expected a GGUF "
            "file of a model type that transformers knows"
        ) from error
    _name_ends(file, network, tokenizer)
    # transformers writes a number that stands for "no limit", which some readers overflow on.
    tokenizer.model_max_length = network.config.max_position_embeddings
    with quiet():
        network.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    _let_read(folder)


def _name_ends(file: Path, network: Any, tokenizer: Any) -> None:
    """Let the network's settings end and pad a text with the tokens that the tokenizer names."""
    if tokenizer.eos_token_id is None:
        raise ModelError(f"{file.name} names no end token; a text written by it would never end")
    for settings in (network.config, network.generation_config):
        settings.eos_token_id = tokenizer.eos_token_id
        settings.pad_token_id = tokenizer.pad_token_id


def _let_read(folder: Path) -> None:
    """Open the weights to whom the other files are: safetensors writes for its owner alone."""
    mode = (folder / "config.json").stat().st_mode
    for path in folder.glob("*.safetensors"):
        path.chmod(mode)


if __name__ == "__main__":
    try:
        convert(Path(sys.argv[1]), Path(sys.argv[2]))
    except ModelError as error:
        sys.exit(str(error))
