"""The renderers that an installed copy of this project has, without installing it anew."""

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

from strategy_rl.board.renderers import GROUP

_PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
_NAMED = tomllib.loads(_PYPROJECT.read_text())["project"]["entry-points"][GROUP]

OURS = [EntryPoint(name, value, GROUP) for name, value in _NAMED.items()]
