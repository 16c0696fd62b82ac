import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from invented import MakeEpisode, MakeRun, write_lines

from strategy_rl.episodes import read_episodes, write_episodes
from strategy_rl.errors import RunError
from strategy_rl.report import combine, combine_runs, render_table, summarize, write_report

PLOTS = [
    "action_shares.png",
    "components.png",
    "learning_curve.png",
    "returns.png",
    "special_by_state.png",
]


def strict(path: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(path.read_text("utf-8"), parse_constant=pytest.fail)
    return report


def test_a_run_gets_its_report_as_data_as_a_page_and_as_pictures(make_run: MakeRun) -> None:
    run = make_run("run", seed=3)
    report = write_report(run, bootstrap_samples=200)
    assert strict(run / "report.json") == report
    assert (report["schema"], report["task"], report["seed"]) == (1, "T-v0", 3)
    assert report["timings_s"] == {"update": 3.0}
    assert sorted(path.name for path in (run / "plots").iterdir()) == PLOTS
    page = (run / "report.md").read_text("utf-8")
    for heading in ("Policies", "Comparisons", "Health", "Reward components", "What was chosen"):
        assert f"## {heading}" in page
    assert "![plots/returns.png](plots/returns.png)" in page
    assert "ok: entropy ended at 56% of its start" in page


def test_a_report_needs_nothing_but_episode_files(make_run: MakeRun) -> None:
    run = make_run("run")
    for name in ("config.yaml", "metrics.jsonl", "timings.jsonl"):
        (run / name).unlink()
    report = write_report(run, bootstrap_samples=200)
    assert (report["task"], report["seed"], report["timings_s"]) == ("T-v0", None, {})
    assert not (run / "plots" / "learning_curve.png").exists()


def test_a_picture_of_an_older_report_does_not_stay(make_run: MakeRun) -> None:
    run = make_run("run")
    write_report(run, bootstrap_samples=200)
    (run / "metrics.jsonl").unlink()
    write_report(run, bootstrap_samples=200)
    assert not (run / "plots" / "learning_curve.png").exists()


def test_foreign_texts_cannot_break_the_page(make_run: MakeRun) -> None:
    run = make_run("run")
    write_report(run, bootstrap_samples=200)
    page = (run / "report.md").read_text("utf-8")
    assert "a wrong &#124; reply" in page
    assert "a wrong | reply" not in page


def test_the_table_is_aligned_and_sorted_by_return(episode: MakeEpisode) -> None:
    report = summarize(
        {
            "sft": [episode("sft", r, ["wrong"]) for r in range(3)],
            "ppo": [episode("ppo", r, ["right", "hand_over"]) for r in range(3)],
        },
        bootstrap_samples=50,
    )
    assert render_table(report).splitlines() == [
        "task unknown, seed None, 3 test episodes a policy",
        "",
        "policy  return      95% interval  steps  accuracy  actions",
        "ppo      0.750    [0.750, 0.750]    2.0     1.000  candidate 0.50, hand_over 0.50",
        "sft     -0.500  [-0.500, -0.500]    1.0     0.000  candidate 1.00",
        "",
        "comparison              difference      95% interval  verdict  rows  share of gap",
        "ppo - sft                   +1.250  [+1.250, +1.250]  better      3             -",
        "ppo - best rival (sft)      +1.250  [+1.250, +1.250]  better      3             -",
    ]


def test_several_seeds_are_averaged_by_row_with_each_seed_beside(make_run: MakeRun) -> None:
    runs = [make_run(f"exp/seed-{seed}", seed=seed) for seed in (0, 1, 2)]
    single = [write_report(run, bootstrap_samples=200) for run in runs]
    text = combine([runs[0].parent], bootstrap_samples=200)
    report = strict(runs[0].parent / "report.json")
    assert report["seeds"] == [0, 1, 2]
    figures = report["comparisons"]["ppo_vs_sft"]
    by_seed = [one["comparisons"]["ppo_vs_sft"]["mean_difference"] for one in single]
    assert figures["by_seed"] == pytest.approx(by_seed)
    assert figures["mean_difference"] == pytest.approx(sum(by_seed) / 3)
    assert figures["rows"] == 16
    assert report["policies"]["ppo"]["episodes"] == 48
    assert "by seed" in text
    assert (runs[0].parent / "plots" / "learning_curve.png").exists()
    assert any(line.startswith("seed-1: ok: ") for line in report["health"])


def test_the_interval_over_seeds_resamples_groups_of_the_averaged_rows(make_run: MakeRun) -> None:
    runs = [make_run(f"exp/seed-{seed}", seed=seed) for seed in (0, 1)]
    report = combine_runs(runs, bootstrap_samples=2_000)
    # By hand: rows averaged over the two seeds, two rows a group, then the mean of the groups.
    differences = []
    for row in range(16):
        pairs = []
        for run in runs:
            played = {
                policy: read_episodes(run / "episodes" / f"test-{policy}.jsonl")[1][row].return_
                for policy in ("ppo", "sft")
            }
            pairs.append(played["ppo"] - played["sft"])
        differences.append(sum(pairs) / 2)
    groups = [sum(differences[i : i + 2]) / 2 for i in range(0, 16, 2)]
    mean = sum(groups) / 8
    spread = (sum((g - mean) ** 2 for g in groups) / 8 / 8) ** 0.5
    low, high = report["comparisons"]["ppo_vs_sft"]["ci95"]
    assert report["comparisons"]["ppo_vs_sft"]["mean_difference"] == pytest.approx(mean)
    assert (high - low) / (2 * 1.96) == pytest.approx(spread, rel=0.1)


def test_a_policy_on_other_rows_in_another_run_is_refused_by_name(make_run: MakeRun) -> None:
    runs = [make_run("a", seed=0), make_run("b", seed=1)]
    path = runs[1] / "episodes" / "test-threshold.jsonl"
    header, episodes = read_episodes(path)
    write_episodes(path, episodes[:-1], header)
    with pytest.raises(RunError, match=r"'threshold' .* other rows in another run: 1 rows"):
        combine(runs)


def test_a_policy_that_one_run_lacks_is_left_out_and_named(make_run: MakeRun) -> None:
    runs = [make_run("a", seed=0), make_run("b", seed=1, left_out=["threshold"])]
    report = combine_runs(runs, bootstrap_samples=200)
    assert "threshold" not in report["policies"]
    assert "'threshold' is left out" in report["health"][0]


def test_runs_of_different_tasks_are_not_combined(make_run: MakeRun) -> None:
    runs = [make_run("a"), make_run("b", task="Other-v0")]
    with pytest.raises(RunError, match="different tasks"):
        combine(runs)


def test_runs_that_differ_in_more_than_seed_and_name_are_not_combined(make_run: MakeRun) -> None:
    runs = [make_run("a", seed=0), make_run("b", seed=1)]
    for run, more in zip(
        runs, ("name: a\nppo: {gamma: 1.0}\n", "name: b\nppo: {gamma: 0.9}\n"), strict=True
    ):
        with (run / "config.yaml").open("a") as file:
            file.write(more)
    with pytest.raises(RunError, match=r"a and .*b differ in ppo\.gamma; only runs"):
        combine(runs)
    config = runs[1] / "config.yaml"
    config.write_text(config.read_text().replace("0.9", "1.0"))
    assert "seeds 0, 1" in combine(runs, bootstrap_samples=50)


def test_a_seed_counts_once(make_run: MakeRun) -> None:
    runs = [make_run("a", seed=4), make_run("b", seed=5), make_run("c", seed=4)]
    with pytest.raises(RunError, match=r"a and .*c both have seed 4"):
        combine(runs)


def test_a_task_without_splits_is_a_warning_of_the_report(make_run: MakeRun) -> None:
    runs = [make_run("a", seed=0), make_run("b", seed=1)]
    for run in runs:
        for path in (run / "episodes").iterdir():
            header, episodes = read_episodes(path)
            write_episodes(path, episodes, {**header, "same_rows": True})
    for report in (write_report(runs[0], bootstrap_samples=50), combine_runs(runs)):
        said = [s for s in report["health"] if "train, validation and test are the same" in s]
        assert len(said) == 1
        assert said[0].startswith("warning: ")


def test_runs_without_a_common_parent_are_combined_and_written_nowhere(
    make_run: MakeRun, tmp_path: Path
) -> None:
    runs = [make_run("x/a", seed=0), make_run("y/b", seed=1)]
    assert "ppo - sft" in combine(runs, bootstrap_samples=200)
    assert not list(tmp_path.rglob("report.json"))


def test_one_run_is_reported_in_its_own_folder(make_run: MakeRun) -> None:
    run = make_run("solo")
    assert "ppo - sft" in combine([run], bootstrap_samples=200)
    assert (run / "report.json").exists()
    assert not (run.parent / "report.json").exists()


def test_what_is_no_run_is_refused_by_name(tmp_path: Path, make_run: MakeRun) -> None:
    with pytest.raises(RunError, match="nothing: neither a run folder"):
        combine([tmp_path / "nothing"])
    run = make_run("empty")
    shutil.rmtree(run / "episodes")
    (run / "episodes").mkdir()
    with pytest.raises(RunError, match="strategy-rl evaluate"):
        write_report(run)
    assert not (run / "report.json").exists()


def test_a_damaged_config_is_refused_by_name(make_run: MakeRun) -> None:
    run = make_run("run")
    (run / "config.yaml").write_text("a: [")
    with pytest.raises(RunError, match=r"config\.yaml"):
        write_report(run)


def test_a_state_that_never_leads_to_a_special_action_has_no_picture(
    make_run: MakeRun, episode: MakeEpisode
) -> None:
    run = make_run("run", left_out=["threshold"])
    for policy in ("sft", "ppo"):
        path = run / "episodes" / f"test-{policy}.jsonl"
        write_episodes(path, [episode(policy, r, ["right"]) for r in range(16)], {})
    for path in (run / "episodes").glob("test-[re]*"):
        path.unlink()
    write_report(run, bootstrap_samples=50)
    assert not (run / "plots" / "special_by_state.png").exists()


def test_a_curve_of_one_run_only_is_drawn_for_that_run(make_run: MakeRun) -> None:
    runs = [make_run(f"exp/seed-{seed}", seed=seed) for seed in (0, 1)]
    write_lines(runs[1] / "metrics.jsonl", [])
    combine(runs, bootstrap_samples=50)
    assert (runs[0].parent / "plots" / "learning_curve.png").exists()


def test_matplotlib_is_not_imported_before_a_picture_is_drawn() -> None:
    code = (
        "import sys, strategy_rl.report; "
        "sys.exit(any(name in sys.modules for name in ('matplotlib', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
