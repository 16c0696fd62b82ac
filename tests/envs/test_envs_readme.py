import doctest
from pathlib import Path

ENVS = Path(__file__).parents[2] / "envs"


def test_the_readmes_episode_plays_as_it_is_printed():
    failures, tried = doctest.testfile(str(ENVS / "README.md"), module_relative=False)
    assert tried >= 7
    assert failures == 0


def test_every_file_that_the_readme_lists_exists():
    text = (ENVS / "README.md").read_text()
    tree = text.split("```")[1]
    names = [line.split()[0] for line in tree.splitlines() if line.startswith("  ")]
    known = {path.name for path in (ENVS / "strategy_rl_envs").rglob("*")}
    assert len(names) >= 10
    assert {name.rstrip("/") for name in names} <= known
