"""PPO against SFT by kind of row."""

from dataclasses import replace

import pytest
from invented import make_episode

from strategy_rl.episodes import Episode, episode_from_json, episode_to_json
from strategy_rl.report.kinds import MOST_KINDS, compare_kinds
from strategy_rl.report.returns import Bootstrap
from strategy_rl.report.summary import summarize
from strategy_rl.report.tables import render_markdown

BOOTSTRAP = Bootstrap(200)


def played(policy: str, choices: str, kinds: str, guard: float = 0.0) -> list[Episode]:
    """One step a row: `r`ight pays 1, `w`rong -0.5; every row's guard says the same."""
    words = {"r": "right", "w": "wrong"}
    episodes = []
    for row, (choice, kind) in enumerate(zip(choices, kinds, strict=True)):
        episode = make_episode(policy, row, [words[choice]])
        steps = tuple(replace(s, reward_values={"judge": guard}) for s in episode.steps)
        episodes.append(replace(episode, kind=kind, steps=steps))
    return episodes


def test_each_kind_gets_the_difference_of_its_own_rows_and_its_guards():
    sft, ppo = played("sft", "wwrr", "aabb", 0.5), played("ppo", "rrrw", "aabb", 0.25)

    kinds = compare_kinds([ppo], [sft], BOOTSTRAP)

    assert list(kinds) == ["a", "b"]
    assert kinds["a"]["mean_difference"] == pytest.approx(1.5)
    assert kinds["a"]["ci95"] == pytest.approx([1.5, 1.5])
    assert kinds["b"]["means"] == pytest.approx([0.25, 1.0])
    assert kinds["b"]["rows"] == 2
    assert kinds["a"]["guards"]["judge"]["mean_difference"] == pytest.approx(-0.25)


def test_seeds_are_averaged_row_by_row():
    sft = [played("sft", "ww", "ab")] * 2
    ppo = [played("ppo", "rw", "ab"), played("ppo", "ww", "ab")]

    kinds = compare_kinds(ppo, sft, BOOTSTRAP)

    assert kinds["a"]["mean_difference"] == pytest.approx(0.75)
    assert kinds["b"]["mean_difference"] == pytest.approx(0.0)


@pytest.mark.parametrize("kinds", ["aaa", "".join(map(chr, range(97, 98 + MOST_KINDS)))])
def test_one_kind_or_too_many_give_no_table(kinds):
    choices = "r" * len(kinds)

    assert (
        compare_kinds([played("ppo", choices, kinds)], [played("sft", choices, kinds)], BOOTSTRAP)
        == {}
    )


def test_the_report_shows_the_kinds():
    both = {"sft": played("sft", "wr", "ab", 0.5), "ppo": played("ppo", "rr", "ab", 0.25)}

    page = render_markdown(summarize(both, bootstrap_samples=50))

    assert "## By kind of row, PPO against SFT" in page
    assert "| a | 1 | return | -0.500 | 1.000 | +1.500 | +1.500 to +1.500 |" in page
    assert "| a |  | judge (guard) | 0.500 | 0.250 | -0.250 | -0.250 to -0.250 |" in page


def test_a_kind_is_written_and_read_and_older_files_have_none():
    episode = played("sft", "r", "a")[0]
    line = episode_to_json(episode)

    assert episode_from_json(line).kind == "a"
    del line["kind"]
    assert episode_from_json(line).kind is None
