from pathlib import Path

import pytest
from recorded import episode, evaluated, rollout, step, write_lines, write_run

from strategy_rl import cli
from strategy_rl.board.faults import RequestError
from strategy_rl.board.terminal import episodes_text, printable
from strategy_rl.errors import RunError


def test_a_list_shows_one_line_an_episode(tmp_path: Path) -> None:
    text = episodes_text(evaluated(tmp_path), policy="ppo", sort="-return", limit=2)
    header, first, second, last = text.splitlines()
    assert header.split()[:3] == ["row", "policy", "when"]
    assert first.split() == [
        *("5", "ppo", "evaluation", "odd", "+0.500", "2", "0.500", "0.250"),
        *("candidate", "0;", "hand_over"),
    ]
    assert second.split()[0] == "4"
    assert last.startswith("2 of 6 episodes")


def test_one_episode_is_shown_in_full(tmp_path: Path) -> None:
    text = episodes_text(evaluated(tmp_path), policy="ppo", row=3)
    assert "test-ppo-3: row 3 (odd), terminated" in text
    assert "0: the right reply" in text
    assert "step 2" in text
    assert "action        hand_over" in text
    assert "greedy        candidate 0" in text
    assert "reward        +0.300 = bleu +0.550, price -0.250" in text
    assert "advantage +0.300, entropy +1.040" in " ".join(text.split())  # it is wrapped


def test_small_probabilities_can_be_told_apart(tmp_path: Path) -> None:
    rare = {"probabilities": [2e-5, 0.99948, 0.0005]}
    run = write_run(tmp_path, ppo=[episode("ppo", 0, [step(0, **rare)])])
    assert episodes_text(run, sort="row").splitlines()[1].split()[7] == "2e-5"
    shown = episodes_text(run, policy="ppo", row=0)
    assert "candidate 1 0.999, hand_over 5e-4, candidate 0 2e-5" in " ".join(shown.split())


def test_a_training_episode_says_why_it_was_kept(tmp_path: Path) -> None:
    text = episodes_text(write_lines(tmp_path, rollout()), policy="policy", row=2)
    assert "kept as worst, surprising of 64 episodes of its rollout" in text.splitlines()


def test_a_row_of_several_policies_is_listed(tmp_path: Path) -> None:
    text = episodes_text(evaluated(tmp_path), row=3)
    assert [line.split()[1] for line in text.splitlines()[1:-1]] == ["ppo", "sft"]
    assert "--policy" in text.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"policy": "pp0"}, "no episode with policy pp0; it has policies ppo, sft; splits test"),
        ({"row": 99}, "no episode with row 99"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(
    tmp_path: Path, options: dict[str, str], words: str
) -> None:
    with pytest.raises(RunError, match=words):
        episodes_text(evaluated(tmp_path), **options)  # type: ignore[arg-type]


def test_an_unknown_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="sort: got 'best'"):
        episodes_text(evaluated(tmp_path), sort="best")


def test_the_only_run_of_a_folder_is_meant_and_of_several_one_must_be_named(tmp_path: Path) -> None:
    evaluated(tmp_path / "seed-0")
    assert "12 episodes" in episodes_text(tmp_path)
    evaluated(tmp_path / "seed-1")
    with pytest.raises(RunError, match="holds 2 runs"):
        episodes_text(tmp_path)


def test_a_folder_without_episodes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no episodes"):
        episodes_text(tmp_path)


def test_texts_command_no_terminal(tmp_path: Path) -> None:
    evil = "\x1b]0;owned\x07\r\u202e\x9b2J"
    made = [
        episode(
            evil, 0, [step(0, action_name=evil, text=evil, observation={evil: [evil]})], kind=evil
        )
    ]
    run = write_run(tmp_path, ppo=made)
    for text in (episodes_text(run), episodes_text(run, row=0)):
        assert all(character.isprintable() or character == "\n" for character in text)


def test_printable_keeps_what_people_write() -> None:
    assert printable("我的 订单, né") == "我的 订单, né"
    assert printable("a\nb\x1b") == "a\\nb\\x1b"


def test_the_commands_print_and_write_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(evaluated(tmp_path / "run"))
    assert cli.main(["episodes", run, "--policy", "ppo", "--row", "3"]) == 0
    assert "test-ppo-3: row 3 (odd), terminated" in capsys.readouterr().out
    assert cli.main(["episodes", run, "--policy", "ppo", "--sort", "-row", "--limit", "1"]) == 0
    backwards = capsys.readouterr().out
    assert cli.main(["episodes", run, "--policy", "ppo", "--sort", "row", "--limit", "1"]) == 0
    assert capsys.readouterr().out != backwards
    assert cli.main(["episodes", run, "--sort", "beauty"]) == 2
    assert "beauty" in capsys.readouterr().err
    out = tmp_path / "shared"
    assert cli.main(["board", run, "--export", str(out)]) == 0
    assert str(out) in capsys.readouterr().out
    assert (out / "index.html").is_file()
    assert cli.main(["board", run, "--export", str(out)]) == 5  # not over what is there
