import errno
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from strategy_rl.errors import RunError, StorageError
from strategy_rl.logger import METRICS, MetricsLogger, find_metric, read_record, render_metrics
from strategy_rl.logger.digest import escape
from strategy_rl.logger.layout import custom_scalars_layout
from strategy_rl.logger.record import Record

METRICS_JSONL = "metrics.jsonl"


def lines(run_dir: Path, name: str = METRICS_JSONL) -> list[dict[str, Any]]:
    return list(read_record(run_dir / name))


def events(run_dir: Path) -> Iterator[Any]:
    """Every value in the run's event files: (step, value)."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    for path in sorted(run_dir.glob("events.*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                yield event.step, value


def curve(run_dir: Path, tag: str) -> list[tuple[int, float]]:
    return [
        (step, round(value.tensor.float_val[0], 6))
        for step, value in events(run_dir)
        if value.tag == tag
    ]


def write_iterations(logger: MetricsLogger, iterations: range) -> None:
    for i in iterations:
        logger.log("ppo", i, {"ppo/entropy": 1.0 / i, "reward/politeness": 0.5 * i})
        logger.log_histogram("ppo", i, "ppo/values", np.array([0.0, i]))
        logger.log_time("ppo", i, {"time/update_seconds": 0.25})


def test_the_record_holds_one_line_a_call_and_no_clock(tmp_path: Path) -> None:
    logger = MetricsLogger(tmp_path)
    logger.log("sft", 3, {"sft/loss": np.float32(0.5), "sft/accuracy": float("nan")})
    logger.log_time("sft", 3, {"time/epoch_seconds": 1.5})
    logger.close()
    assert lines(tmp_path) == [
        {"stage": "sft", "step": 3, "scalars": {"sft/loss": 0.5, "sft/accuracy": None}}
    ]
    assert lines(tmp_path, "timings.jsonl")[0]["scalars"] == {"time/epoch_seconds": 1.5}


def test_tensorboard_shows_what_the_record_holds(tmp_path: Path) -> None:
    logger = MetricsLogger(tmp_path)
    write_iterations(logger, range(1, 3))
    logger.log_text("ppo", 2, "episodes/ppo", "**hello**")
    logger.hparams({"ppo.gamma": 1.0, "task.id": "t", "policy.hidden_sizes": [64]}, ["ppo/entropy"])
    logger.close()
    assert curve(tmp_path, "ppo/entropy") == [(1, 1.0), (2, 0.5)]
    assert curve(tmp_path, "time/update_seconds") == [(1, 0.25), (2, 0.25)]
    tags = {value.tag for _, value in events(tmp_path)}
    assert {"ppo/values", "episodes/ppo"} <= tags
    assert {"_hparams_/session_start_info", "_hparams_/experiment"} <= tags
    assert "custom_scalars__config__" in tags


def test_a_picture_is_shown_from_its_file_and_recorded_by_its_path(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    Figure(figsize=(2, 1)).savefig(tmp_path / "a.png", dpi=10)
    (tmp_path / "no.png").write_bytes(b"no picture")
    logger = MetricsLogger(tmp_path)
    for name in ("a", "no", "gone"):
        logger.log_image("evaluate", 0, f"plots/{name}", f"{name}.png")
    offset = logger.offset
    logger.close()
    assert lines(tmp_path)[0]["images"] == {"plots/a": "a.png"}
    shown = [value for _, value in events(tmp_path) if value.tag.startswith("plots/")]
    assert [value.tag for value in shown] == ["plots/a"]
    assert shown[0].metadata.plugin_data.plugin_name == "images"
    width, height, png = shown[0].tensor.string_val
    assert (width, height, png) == (b"20", b"10", (tmp_path / "a.png").read_bytes())
    MetricsLogger(tmp_path, resume_offset=offset).close()  # the events are made again
    assert "plots/a" in {value.tag for _, value in events(tmp_path)}


def test_tensorboard_explains_each_tag(tmp_path: Path) -> None:
    logger = MetricsLogger(tmp_path)
    logger.log("ppo", 1, {"ppo/approx_kl": 0.01})
    logger.close()
    described = {
        value.tag: value.metadata.summary_description
        for _, value in events(tmp_path)
        if value.tag == "ppo/approx_kl"
    }
    assert "0.001 to 0.02" in described["ppo/approx_kl"]


def test_a_resumed_run_writes_the_bytes_of_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for run_dir in (whole, killed):
        run_dir.mkdir()
    logger = MetricsLogger(whole)
    write_iterations(logger, range(1, 6))
    logger.close()

    logger = MetricsLogger(killed)
    write_iterations(logger, range(1, 3))
    offset = logger.offset
    write_iterations(logger, range(3, 5))  # lost: after the checkpoint
    logger.close()
    with (killed / METRICS_JSONL).open("ab") as file:
        file.write(b'{"stage": "pp')  # killed while it wrote
    logger = MetricsLogger(killed, resume_offset=offset)
    write_iterations(logger, range(3, 6))
    logger.close()

    assert (killed / METRICS_JSONL).read_bytes() == (whole / METRICS_JSONL).read_bytes()
    for tag in ("ppo/entropy", "time/update_seconds"):
        assert curve(killed, tag) == curve(whole, tag)
        assert len(curve(killed, tag)) == 5


def test_a_resume_leaves_one_event_file(tmp_path: Path) -> None:
    MetricsLogger(tmp_path).close()
    first = list(tmp_path.glob("events.*"))
    MetricsLogger(tmp_path, resume_offset=0).close()
    second = list(tmp_path.glob("events.*"))
    assert len(first) == len(second) == 1
    assert first != second


def test_a_record_shorter_than_the_checkpoint_warns_and_goes_on(tmp_path: Path) -> None:
    logger = MetricsLogger(tmp_path, tensorboard=False)
    logger.log("sft", 1, {"sft/loss": 1.0})
    offset = logger.offset
    logger.close()
    with pytest.warns(UserWarning, match=f"expects {offset + 10}"):
        logger = MetricsLogger(tmp_path, tensorboard=False, resume_offset=offset + 10)
    logger.log("sft", 2, {"sft/loss": 1.0})
    logger.close()
    assert [line["step"] for line in lines(tmp_path)] == [1, 2]


def test_without_tensorboard_no_events_are_written(tmp_path: Path) -> None:
    logger = MetricsLogger(tmp_path, tensorboard=False)
    logger.log("sft", 1, {"sft/loss": 1.0})
    logger.close()
    assert not list(tmp_path.glob("events.*"))


class FullDisk:
    """A file that takes a few bytes and then refuses, until `free` is set."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.free = False

    def write(self, data: memoryview) -> int:
        if self.free:
            return int(self.file.write(data))
        self.file.write(data[:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def test_a_full_disk_warns_once_and_the_lines_come_later_whole(tmp_path: Path) -> None:
    logger = MetricsLogger(tmp_path, tensorboard=False)
    disk = FullDisk(logger._metrics._file)
    logger._metrics._file = disk  # type: ignore[assignment]
    with pytest.warns(UserWarning, match="No space left") as caught:
        write_iterations(logger, range(1, 4))
    assert len(caught) == 1
    assert logger.offset == 0
    assert (tmp_path / METRICS_JSONL).read_bytes() == b""
    disk.free = True
    logger.log("ppo", 4, {"ppo/entropy": 1.0})
    logger.close()
    assert [line["step"] for line in lines(tmp_path)] == [1, 1, 2, 2, 3, 3, 4]


def test_what_waits_for_a_full_disk_is_bounded_in_bytes_and_its_header_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strategy_rl.logger.record.MAX_PENDING_BYTES", 100)
    record = Record(tmp_path / "e.jsonl")
    disk = FullDisk(record._file)
    record._file = disk  # type: ignore[assignment]
    with pytest.warns(UserWarning, match="No space left"):
        record.append({"number": 0})
    for number in range(1, 9):
        record.append({"number": number, "text": "x" * 20})  # 44 bytes a line
    disk.free = True
    record.close()
    numbers = [entry["number"] for entry in read_record(tmp_path / "e.jsonl")]
    assert numbers == [0, 7, 8]


def test_events_that_cannot_be_written_end_the_mirror_and_not_the_run(tmp_path: Path) -> None:
    logger = MetricsLogger(tmp_path)
    assert logger._events is not None
    logger._events._writer._writer = FullDisk(logger._events._writer._writer)
    with pytest.warns(UserWarning, match="No space left") as caught:
        write_iterations(logger, range(1, 4))
    assert len(caught) == 1
    logger.close()
    assert len(lines(tmp_path)) == 6
    assert curve(tmp_path, "ppo/entropy") == []


def test_a_mirror_that_cannot_be_opened_leaves_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "strategy_rl.logger.tensorboard._next_path", lambda run_dir: run_dir / "missing" / "events"
    )
    with pytest.warns(UserWarning, match="events cannot be written"):
        logger = MetricsLogger(tmp_path)
    logger.log("sft", 1, {"sft/loss": 1.0})
    logger.close()
    assert len(lines(tmp_path)) == 1


def test_a_disk_that_stays_full_until_the_end_is_no_error(tmp_path: Path) -> None:
    logger = MetricsLogger(tmp_path, tensorboard=False)
    logger._metrics._file = FullDisk(logger._metrics._file)  # type: ignore[assignment]
    with pytest.warns(UserWarning, match="No space left"):
        logger.log("sft", 1, {"sft/loss": 1.0})
    logger.close()
    assert lines(tmp_path) == []


def test_a_record_that_cannot_be_opened_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="metrics"):
        MetricsLogger(tmp_path / "missing")


def test_a_half_written_last_line_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / METRICS_JSONL
    path.write_text('{"stage":"sft"}\n{"stage":')
    assert list(read_record(path)) == [{"stage": "sft"}]


def test_a_name_outside_the_table_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    logger = MetricsLogger(tmp_path, tensorboard=False)
    with pytest.raises(ValueError, match="did you mean 'ppo/entropy'"):
        logger.log("ppo", 1, {"ppo/entropie": 1.0})
    with pytest.raises(ValueError, match="no histogram metric"):
        logger.log_histogram("ppo", 1, "ppo/entropy", np.zeros(2))
    with pytest.raises(ValueError, match="'ppo/gamma'"):
        logger.hparams({}, ["ppo/gamma"])
    with pytest.raises(ValueError, match="no text metric"):
        logger.log_text("ppo", 1, "ppo/entropy", "")
    with pytest.raises(ValueError, match="no image metric is called 'pictures/a'"):
        logger.log_image("evaluate", 0, "pictures/a", "a.png")
    logger.close()
    assert lines(tmp_path) == []


def test_a_star_stands_for_one_part_of_a_name() -> None:
    assert find_metric("reward/politeness").pattern == "reward/*"
    assert find_metric("eval/threshold_by_state/ci_low").pattern == "eval/*/ci_low"
    with pytest.raises(ValueError, match="reward/a/b"):
        find_metric("reward/a/b")


@pytest.mark.parametrize(
    ("values", "counts"),
    [
        (np.array([[0.0, 1.0], [2.0, 3.0]]), 4),
        (np.array([0.3, 0.1 + 0.2]), 2),  # closer than bins can divide
        (np.array([np.nan, 1.0, np.inf]), 1),
    ],
)
def test_histograms_count_every_finite_value(
    tmp_path: Path, values: np.ndarray, counts: int
) -> None:
    logger = MetricsLogger(tmp_path)
    logger.log_histogram("ppo", 1, "ppo/advantages", values)
    logger.close()
    (line,) = lines(tmp_path)
    assert sum(line["histograms"]["ppo/advantages"]["counts"]) == counts


def test_a_histogram_without_any_finite_value_is_left_out(tmp_path: Path) -> None:
    logger = MetricsLogger(tmp_path)
    logger.log_histogram("ppo", 1, "ppo/advantages", np.array([np.nan]))
    logger.close()
    assert lines(tmp_path) == []


def test_a_damaged_record_is_named_by_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / METRICS_JSONL
    path.write_text('{"stage":"sft"}\nnonsense\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl:2: not JSON"):
        list(read_record(path))
    path.write_text("[1]\n")
    with pytest.raises(RunError, match=r"metrics\.jsonl:1: expected an object"):
        list(read_record(path))


def test_every_metric_has_a_meaning_a_healthy_range_and_a_row_in_the_table() -> None:
    assert len({(metric.pattern, metric.kind) for metric in METRICS}) == len(METRICS)
    assert all(metric.meaning.endswith(".") and metric.healthy for metric in METRICS)
    page = render_metrics()
    assert all(f"| `{metric.pattern}`" in page for metric in METRICS)
    assert all(line.count("|") == 5 for line in page.splitlines() if line.startswith("|"))


def test_the_page_in_docs_is_the_table() -> None:
    page = Path(__file__).parents[1] / "docs" / "metrics.md"
    assert page.read_text("utf-8") == render_metrics(), (
        "docs/metrics.md is out of date; write strategy_rl.logger.render_metrics() to it"
    )


def test_every_curve_of_the_layout_is_in_the_table() -> None:
    charts = [chart for category in custom_scalars_layout().category for chart in category.chart]
    tags = [tag.strip("^$").replace(".*", "x") for c in charts for tag in c.multiline.tag]
    tags += [s.value for c in charts for s in c.margin.series]
    assert len(tags) > 20
    for tag in tags:
        find_metric(tag)


def test_the_logger_does_not_import_torch() -> None:
    code = "import sys, strategy_rl.logger as l; sys.exit('torch' in sys.modules)"
    assert os.spawnl(os.P_WAIT, sys.executable, sys.executable, "-c", code) == 0


def test_foreign_text_cannot_act_as_markup_or_reach_the_terminal() -> None:
    hostile = "\x1b[31mred\x1b[0m | <script>*x*</script>\n# head\u202e"
    assert escape(hostile) == ("red &#124; &#60;script&#62;&#42;x&#42;&#60;/script&#62; &#35; head")
    assert escape("a" * 500, limit=10) == "aaaaaaaaa…"


def test_a_record_line_is_strict_json(tmp_path: Path) -> None:
    logger = MetricsLogger(tmp_path, tensorboard=False)
    logger.log("ppo", 1, {"ppo/loss": float("inf")})
    logger.close()
    raw = (tmp_path / METRICS_JSONL).read_text()
    assert json.loads(raw, parse_constant=pytest.fail)["scalars"] == {"ppo/loss": None}
