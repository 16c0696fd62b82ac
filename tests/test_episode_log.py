"""Episodes that are added while training goes on."""

from __future__ import annotations

from pathlib import Path

from strategy_rl.episodes import Episode, Step, read_episodes
from strategy_rl.logger import EpisodeLog


def episode(number: int) -> Episode:
    steps = (Step(number, str(number), 1.0, {"a": 1.0}),)
    return Episode(f"e{number}", "ppo", number, 0, "probe", 0, None, "policy", True, steps)


def test_what_was_written_after_the_checkpoint_is_dropped_and_written_again(tmp_path: Path) -> None:
    folder = tmp_path / "episodes"
    path = folder / "probe-00000.jsonl"
    whole = EpisodeLog(folder, "probe", {"split": "probe"})
    whole.add([episode(0), episode(1)])
    offset = whole.offset
    whole.add([episode(2)])
    whole.close()
    expected = path.read_bytes()
    assert len(expected) > offset > 0
    resumed = EpisodeLog(folder, "probe", {"split": "probe"}, keep_bytes=offset)
    assert [e.episode_id for e in read_episodes(path)[1]] == ["e0", "e1"]
    resumed.add([episode(2)])
    resumed.close()
    assert path.read_bytes() == expected
    header, episodes = read_episodes(path)
    assert header["split"] == "probe"
    assert episodes == [episode(number) for number in range(3)]


def test_a_large_file_is_followed_by_another_and_a_resume_goes_on_in_the_right_one(
    tmp_path: Path,
) -> None:
    whole = EpisodeLog(tmp_path, "train", {"split": "train"}, max_bytes=900)
    offsets = []
    for number in range(9):
        whole.add([episode(number)])
        offsets.append(whole.offset)
    whole.close()
    expected = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(expected) > 2
    assert offsets[-1] == sum(map(len, expected.values()))
    assert all(len(content) < 900 + 600 for content in expected.values())
    found = []
    for name in sorted(expected):
        header, episodes = read_episodes(tmp_path / name)
        assert header["split"] == "train"
        found += [e.episode_id for e in episodes]
    assert found == [f"e{number}" for number in range(9)]

    for number, offset in enumerate(offsets):
        again = EpisodeLog(tmp_path, "train", {"split": "train"}, offset, max_bytes=900)
        assert again.offset == offset
        again.add([episode(later) for later in range(number + 1, 9)])
        again.close()
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == expected
    EpisodeLog(tmp_path, "train", {"split": "train"}).close()
    assert [path.name for path in tmp_path.iterdir()] == ["train-00000.jsonl"]


def test_files_of_others_and_of_a_row_with_a_gap_are_left_alone(tmp_path: Path) -> None:
    log = EpisodeLog(tmp_path, "train", {}, max_bytes=100)
    log.add([episode(number) for number in range(4)])
    offset = log.offset
    log.close()
    (tmp_path / "train-1step.jsonl").write_text("a rival's")  # evaluated on this split
    EpisodeLog(tmp_path, "train", {}, offset, max_bytes=100).close()
    assert (tmp_path / "train-1step.jsonl").exists()

    (tmp_path / "train-00000.jsonl").unlink()  # to make room
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    again = EpisodeLog(tmp_path, "train", {}, offset, max_bytes=100)
    again.add([episode(9)])
    assert again.offset > offset
    again.close()
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert {name: after[name] for name in before} == before
    (new,) = after.keys() - before.keys()
    assert [e.episode_id for e in read_episodes(tmp_path / new)[1]] == ["e9"]


def test_where_no_other_file_can_be_begun_the_last_one_goes_on(tmp_path: Path) -> None:
    log = EpisodeLog(tmp_path, "train", {}, max_bytes=100)
    (tmp_path / "train-00001.jsonl").mkdir()  # in the way
    log.add([episode(number) for number in range(3)])
    (tmp_path / "train-00001.jsonl").rmdir()
    log.add([episode(3)])
    log.close()
    found = [
        [e.episode_id for e in read_episodes(tmp_path / f"train-0000{number}.jsonl")[1]]
        for number in (0, 1)
    ]
    assert found == [["e0", "e1", "e2"], ["e3"]]


def test_without_a_checkpoint_the_file_begins_anew(tmp_path: Path) -> None:
    for number in (0, 1):
        log = EpisodeLog(tmp_path, "probe", {})
        log.add([episode(number)])
        log.close()
    assert [e.episode_id for e in read_episodes(tmp_path / "probe-00000.jsonl")[1]] == ["e1"]
