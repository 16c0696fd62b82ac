"""Modules of the front end without a page, in node."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import strategy_rl.board

STATIC = Path(strategy_rl.board.__file__).parent / "static"

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")


def evaluated(module: str, expression: str) -> Any:
    """What an expression over `m`, a module of the front end, gives."""
    source = f"import(process.argv[1]).then((m) => console.log(JSON.stringify({expression})))"
    command = ["node", "-e", source, (STATIC / module).as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 4, [0, 1, 2, 3, 4]), (-1, 1, [-1, -0.5, 0, 0.5, 1]), (3, 3, [3])],
)
def test_ticks_are_round_numbers_within_the_axis(low: int, high: int, ticks: list[float]) -> None:
    assert evaluated("charts.js", f"m.roundTicks([{low}, {high}])") == ticks


@pytest.mark.parametrize(
    ("low", "high"), [("1e16", "1e16 + 2"), ("-1e99", "1e99"), ("9e99", "9e99")]
)
def test_ticks_come_to_an_end_where_numbers_are_far_apart(low: str, high: str) -> None:
    assert len(evaluated("charts.js", f"m.roundTicks([{low}, {high}])")) <= 6


def test_a_name_that_every_object_knows_is_not_taken_for_a_field() -> None:
    names = '["constructor", "toString", "bleu"]'
    found = evaluated("format.js", f"{names}.map((name) => m.own({{bleu: 2}}, name) ?? null)")
    assert found == [None, None, 2]
