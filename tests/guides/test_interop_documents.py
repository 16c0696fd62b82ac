"""docs/interop.md: each of its snippets runs as it stands.

The last one needs a trained controller, and runs in `test_decoding_guide`.
"""

import runpy
from pathlib import Path

import pytest
from guide import blocks, guide

from strategy_rl.config import load_experiment


def snippets(language: str) -> list[str]:
    return [block for kind, block in blocks(guide("interop")) if kind == language]


def test_there_is_a_snippet_for_each_door() -> None:
    assert len(snippets("yaml")) == 1
    assert len(snippets("python")) == 3


def test_the_experiment_file_is_understood(tmp_path: Path) -> None:
    path = tmp_path / "frozen_lake.yaml"
    path.write_text(snippets("yaml")[0], "utf-8")
    assert load_experiment(path).task.id == "FrozenLake-v1"


@pytest.mark.parametrize(
    ("place", "printed"),
    [
        (0, "{'candidates': (5, 64), 'context': (3, 64), 'numbers': (1,), 'pairs': (5, 9)} "),
        # ROUGE-L of 3 of 6 words without a wrong one: 2 * 1 * 0.5 / 1.5; brevity: 0.5 * (2 - 3 / 2)
        (1, "rouge_l [0.6666666666666666]\nbrevity [0.25]\n"),
    ],
)
def test_the_snippets_run(
    place: int, printed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "snippet.py"
    script.write_text(snippets("python")[place], "utf-8")
    runpy.run_path(str(script))
    assert capsys.readouterr().out.startswith(printed)
