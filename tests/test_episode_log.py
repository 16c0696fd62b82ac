"""Episodes that are added while training goes on."""

from __future__ import annotations

from pathlib import Path

from strategy_rl.episodes import Episode, Step, read_episodes
from strategy_rl.logger import EpisodeLog


def episode(number: int) -> Episode:
    steps = (Step(number, str(number), 1.0, {"a": 1.0}),)
    return Episode(f"e{number}", "ppo", number, 0, "probe", 0, None, "policy", True, steps)


def test_what_was_written_after_the_checkpoint_is_dropped_and_written_again(tmp_path: Path) -> None:
    path = tmp_path / "episodes" / "probe.jsonl"
    whole = EpisodeLog(path, {"split": "probe"})
    whole.add([episode(0), episode(1)])
    offset = whole.offset
    whole.add([episode(2)])
    whole.close()
    expected = path.read_bytes()
    assert len(expected) > offset > 0
    resumed = EpisodeLog(path, {"split": "probe"}, keep_bytes=offset)
    assert [e.episode_id for e in read_episodes(path)[1]] == ["e0", "e1"]
    resumed.add([episode(2)])
    resumed.close()
    assert path.read_bytes() == expected
    header, episodes = read_episodes(path)
    assert header["split"] == "probe"
    assert episodes == [episode(number) for number in range(3)]


def test_without_a_checkpoint_the_file_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "probe.jsonl"
    for number in (0, 1):
        log = EpisodeLog(path, {})
        log.add([episode(number)])
        log.close()
    assert [e.episode_id for e in read_episodes(path)[1]] == ["e1"]
