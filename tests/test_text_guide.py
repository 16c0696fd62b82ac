"""`docs/text.md` as a new user tries it: every snippet and command, in an empty folder."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from strategy_rl import cli

TEXT = (Path(__file__).parents[1] / "docs/text.md").read_text("utf-8")
COMMANDS = [shlex.split(line)[1:] for line in re.findall(r"^strategy-rl .*", TEXT, re.M)]
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", TEXT, re.M | re.S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A new user's folder, with what the guide shows, after its commands."""
    path = tmp_path_factory.mktemp("guide")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.setattr(sys, "path", list(sys.path))
        patch.setenv("STRATEGY_RL_CACHE", str(path / "cache"))
        for _, block in BLOCKS:
            named = re.match(r"# (\S+\.(?:py|yaml))\n", block)
            if named:
                (path / named.group(1)).write_text(block, "utf-8")
        yield path
    sys.modules.pop("cheer", None)


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
        block for kind, block in BLOCKS if kind == "python" and "from_pretrained" in block
    ]
    exec(compile(snippet, "docs/text.md", "exec"), {})  # the guide's own words
    action, tokens, value = capsys.readouterr().out.rsplit(maxsplit=2)
    assert "!" in action
    assert 1 <= int(tokens) <= 12
    assert float(value) == pytest.approx(0.7, abs=0.7)
