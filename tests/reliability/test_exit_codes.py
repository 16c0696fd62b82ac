from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tiny_experiments as experiments
from comparison import differences, status_of
from conftest import References
from nursery import Nursery

UPDATE = "strategy_rl.updates:Updates.run"
TOKENIZER = "strategy_rl.backbone.encoder:Backbone.save_tokenizer"


class Case(NamedTuple):
    fields: experiments.Fields
    sabotage: dict[str, Any]
    code: int
    name: str
    expected: str


DIVERGED = Case(
    experiments.DRIFT,
    {"sabotage": "spoil_weights", "place": UPDATE},
    *(3, "DivergenceError", "nan"),
)
DIVERGED_WRITER = Case(
    experiments.TEXTS,
    {"sabotage": "spoil_weights", "place": "strategy_rl.token_updates:TokenMethod.update"},
    *(3, "DivergenceError", "nan"),
)
DISK = Case(
    experiments.DRIFT,
    {"sabotage": "limit_file_size", "place": UPDATE, "size": 4000},
    *(5, "StorageError", "File too large; raise the limit on file sizes"),
)
EXPORT = Case(
    experiments.REPLIES,
    {"sabotage": "limit_file_size", "place": TOKENIZER, "size": 300},
    *(5, "StorageError", "policy-sft/tokenizer: File too large"),
)
MEMORY = Case(
    experiments.DRIFT,
    {"sabotage": "use_up_memory", "place": UPDATE},
    *(7, "MemoryFault", "use smaller minibatches or a smaller model"),
)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(DIVERGED, id="diverged"),
        pytest.param(DIVERGED_WRITER, id="diverged-writer", marks=pytest.mark.slow),
        pytest.param(DISK, id="disk", marks=pytest.mark.slow),
        pytest.param(EXPORT, id="export", marks=pytest.mark.slow),
        pytest.param(MEMORY, id="memory"),
    ],
)
def test_what_goes_wrong_while_training_has_its_code_and_can_be_resumed(
    case: Case, nursery: Nursery, reference_of: References, tmp_path: Path
) -> None:
    file, run = experiments.write(tmp_path, case.fields), tmp_path / "run"
    code, output = nursery.run("run", file, "--out", run, **case.sabotage)
    assert code == case.code, output
    assert "Traceback" not in output
    error = output.splitlines()[-1]
    assert error.startswith("error: ")
    assert case.expected in error
    status, reason = status_of(run)
    assert status == "failed"
    assert reason.startswith(f"{case.name}: ")
    code, output = nursery.run("resume", run)
    assert code == 0, output
    assert differences(run, reference_of(case.fields)) == []
