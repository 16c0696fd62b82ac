import subprocess
import sys

import gymnasium
import pytest

import strategy_rl_envs
from strategy_rl_envs.testing import check_env_contract

TASK_IDS = sorted(name for name in gymnasium.registry if name.startswith("strategy_rl/"))


# It writes with a language model, which must be given: tests/envs/decoding_control checks it.
NEEDS_MODEL = "strategy_rl/DecodingControl-v0"


@pytest.mark.parametrize("env_id", [name for name in TASK_IDS if name != NEEDS_MODEL])
def test_a_registered_task_keeps_the_contract(env_id):
    report = check_env_contract(f"strategy_rl_envs:{env_id}", episodes=8)
    assert report.steps >= 8


def test_every_task_of_the_table_is_registered():
    assert sorted(f"strategy_rl/{name}-v0" for name in strategy_rl_envs.TASKS) == TASK_IDS
    assert len(TASK_IDS) >= 14


def test_importing_the_package_imports_neither_torch_nor_any_task():
    program = "import sys, strategy_rl_envs; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "torch" not in loaded
    assert {name for name in loaded if name.startswith("strategy_rl")} == {"strategy_rl_envs"}
