from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny_experiments as experiments
from nursery import Nursery

References = Callable[..., Path]


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    client = Nursery(tmp_path_factory.mktemp("nursery"))
    yield client
    client.close()


@pytest.fixture(scope="session")
def reference_of(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> References:
    """The run of an experiment that nothing disturbed; each is run once."""
    folder = tmp_path_factory.mktemp("references")

    def run_of(fields: experiments.Fields, *, plots: bool = False) -> Path:
        run = folder / f"{fields['name']}-{plots}"
        file = folder / f"{fields['name']}.yaml"
        assert not file.exists() or json.loads(file.read_text()) == fields, "two of one name"
        if not run.exists():
            file = experiments.write(folder, fields)
            code, output = nursery.run("run", file, "--out", run, plots=plots)
            assert code == 0, output
        return run

    return run_of


def as_of(reference: Path, number: int, run: Path) -> Path:
    """A copy of a run as if it had been killed after its checkpoint `number`."""
    shutil.copytree(reference, run)
    for path in (run / "checkpoints").iterdir():
        if int(path.name.removeprefix("step-")) > number:
            shutil.rmtree(path)
    for path in (run / "episodes").glob("test-*"):
        path.unlink()
    shutil.rmtree(run / "policy")
    for name in ("report.json", "report.md"):
        (run / name).unlink()
    (run / "status.json").write_text('{"status": "running", "reason": ""}')
    return run
