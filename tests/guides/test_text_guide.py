"""`docs/text.md` as a new user tries it: every snippet and command, in an empty folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from guide import blocks, commands, guide

from strategy_rl import cli

TEXT = guide("text")
COMMANDS = commands(TEXT)


def test_the_guide_from_its_files_to_its_last_snippet(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [words[0] for words in COMMANDS] == ["self-check", "run"]
    for words in COMMANDS:
        assert cli.main(words) == 0
    capsys.readouterr()
    report = json.loads((folder / "runs/cheer/report.json").read_text("utf-8"))
    policies = report["policies"]
    assert {"zero_shot", "sft", "sft_sampled", "sft_best_of_8", "ppo", "ppo_sampled", "expert"} <= (
        policies.keys()
    )
    assert policies["ppo_sampled"]["mean_return"] > policies["sft_sampled"]["mean_return"]
    assert policies["ppo_sampled"]["kl_to_sft"] > 0
    (snippet,) = [
        block for kind, block in blocks(TEXT) if kind == "python" and "from_pretrained" in block
    ]
    exec(compile(snippet, "docs/text.md", "exec"), {})  # the guide's own words
    action, tokens, value = capsys.readouterr().out.rsplit(maxsplit=2)
    assert "!" in action
    assert 1 <= int(tokens) <= 12
    assert float(value) == pytest.approx(0.7, abs=0.7)
