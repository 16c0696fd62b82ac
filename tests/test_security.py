"""What could run foreign code, write anywhere or open a port is absent from both packages."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("strategy_rl", "envs/strategy_rl_envs", "experiments")
# path and finding -> why it is safe; reviewed by a person
REVIEWED: dict[tuple[str, str], str] = {}

PICKLES = {"pickle", "cPickle", "cloudpickle", "joblib", "dill", "shelve", "marshal", "_pickle"}
CALLS = {"eval", "exec", "__import__", "extractall", "mktemp", "unsafe_load", "system"}
CALLS |= {"popen", "spawnl", "spawnv", "execv", "register_for_checkpointing", "unsafe_load_all"}
YAML_CALLS = {"load", "load_all", "full_load", "full_load_all"}
FLAGS = {"shell", "trust_remote_code", "allow_pickle"}


def findings(tree: ast.AST) -> Iterator[str]:
    yield from pip_findings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (f"import {a.name}" for a in node.names if top(a.name) in PICKLES)
        elif isinstance(node, ast.ImportFrom) and top(node.module or "") in PICKLES:
            yield f"import {node.module}"
        elif isinstance(node, ast.Call):
            yield from call_findings(node)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from (word for word in ("0.0.0.0", "--bind_all") if word in node.value)


def pip_findings(tree: ast.AST) -> Iterator[str]:
    """A source distribution runs its setup.py; each command line of pip refuses them."""
    texts = [getattr(node, "value", None) for node in ast.walk(tree)]
    if texts.count("pip") > texts.count("--only-binary=:all:"):
        yield "pip without --only-binary=:all:"


def top(module: str) -> str:
    return module.partition(".")[0]


def call_findings(call: ast.Call) -> Iterator[str]:
    name = ast.unparse(call.func)
    last = name.rpartition(".")[2]
    keywords = {k.arg: ast.unparse(k.value) for k in call.keywords if k.arg}
    switches_mode = last == "eval" and name != "eval" and not call.args  # nn.Module.eval()
    if last in CALLS and not switches_mode:
        yield f"{last}("
    if name in ("compile", "builtins.compile"):
        yield "compile("
    if top(name) in {"yaml"} and last in YAML_CALLS:
        yield f"yaml.{last}("
    if name == "torch.load" and keywords.get("weights_only") != "True":
        yield "torch.load("
    if last == "from_pretrained" and "use_safetensors" in keywords:
        yield from ["use_safetensors="] if keywords["use_safetensors"] != "True" else []
    yield from (f"{flag}=" for flag in FLAGS if keywords.get(flag, "False") != "False")


def sources() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def test_both_packages_are_looked_at() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in sources()}
    assert {"strategy_rl/models.py", "envs/strategy_rl_envs/__init__.py"} <= names
    assert len(names) > 20


def test_nothing_dangerous_is_in_the_packages() -> None:
    found = {
        (path.relative_to(ROOT).as_posix(), finding)
        for path in sources()
        for finding in findings(ast.parse(path.read_text("utf-8")))
    }
    assert found == set(REVIEWED)


@pytest.mark.parametrize(
    ("code", "finding"),
    [
        ("import pickle", "import pickle"),
        ("import os, dill.detect", "import dill.detect"),
        ("from joblib import load", "import joblib"),
        ("eval('1')", "eval("),
        ("exec('1')", "exec("),
        ("builtins.eval(x)", "eval("),
        ("frame.eval('a + b')", "eval("),
        ("eval()", "eval("),
        ("compile(text, 'f', 'exec')", "compile("),
        ("__import__('os')", "__import__("),
        ("os.system('ls')", "system("),
        ("archive.extractall(path)", "extractall("),
        ("yaml.load(text, Loader=yaml.Loader)", "yaml.load("),
        ("yaml.full_load(text)", "yaml.full_load("),
        ("torch.load(path)", "torch.load("),
        ("torch.load(path, weights_only=False)", "torch.load("),
        ("subprocess.run('ls', shell=True)", "shell="),
        ("run('ls', shell=flag)", "shell="),
        ("from_pretrained(x, trust_remote_code=True)", "trust_remote_code="),
        ("np.load(path, allow_pickle=True)", "allow_pickle="),
        ("model.from_pretrained(x, use_safetensors=False)", "use_safetensors="),
        ("serve(host='0.0.0.0')", "0.0.0.0"),
        ("command = ['tensorboard', '--bind_all']", "--bind_all"),
        ("run(['python', '-m', 'pip', 'download', 'x'])", "pip without --only-binary=:all:"),
        ("accelerator.register_for_checkpointing(x)", "register_for_checkpointing("),
    ],
)
def test_each_danger_is_seen_where_it_is_planted(code: str, finding: str) -> None:
    assert finding in set(findings(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "torch.load(path, weights_only=True)",
        "np.load(path, allow_pickle=False)",
        "subprocess.run(['ls'])",
        "run(['python', '-m', 'pip', 'download', '--only-binary=:all:', 'x'])",
        "re.compile('x')",
        "yaml.safe_load(text)",
        "model.eval()",
        "torch.compile(model)",
        "AutoModel.from_pretrained(x, use_safetensors=True, trust_remote_code=False)",
    ],
)
def test_safe_spellings_are_let_through(code: str) -> None:
    assert list(findings(ast.parse(code))) == []


def test_libraries_have_the_floors_that_close_known_holes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    floors = dict(re.findall(r"(torch|transformers)>=([\d.]+)", " ".join(project["dependencies"])))
    numbers = {name: tuple(int(n) for n in floor.split(".")) for name, floor in floors.items()}
    assert numbers["torch"] >= (2, 10)
    assert numbers["transformers"] >= (5, 3)
