"""What must be equal, byte for byte, between a run that was disturbed and one that was not."""

from __future__ import annotations

import json
from pathlib import Path

from strategy_rl import files


def differences(run: Path, reference: Path, *, same_numbers: bool = True) -> list[str]:
    """What differs in the result of a run; nothing where it is as the reference.

    Args:
        run: The run that was disturbed.
        reference: The same experiment, left alone.
        same_numbers: Also the checkpoints have the same numbers: not after a signal, which adds
            one, nor after a kill between the last save and the removal of the oldest.
    """
    found = [name for name in _names(reference) if _bytes(run, name) != _bytes(reference, name)]
    found += [f"{name} is new" for name in sorted(set(_names(run)) - set(_names(reference)))]
    if _report(run) != _report(reference):
        found.append("report.json")
    ours, theirs = _checkpoints(run), _checkpoints(reference)
    if same_numbers and [p.name for p in ours] != [p.name for p in theirs]:
        found.append(f"checkpoints {[p.name for p in ours]}")
    for name in ("tensors.safetensors", "state.json"):
        if not ours or _bytes(ours[-1], name) != _bytes(theirs[-1], name):
            found.append(f"{name} of the last checkpoint")
    # The lock of a process that was killed as it left stays; the next one takes it over.
    left = {path.name for path in run.rglob(".*")} - {files.LOCK_NAME}
    found += [f"{name} was left" for name in sorted(left)]
    if (run / "status.json").read_bytes() != (reference / "status.json").read_bytes():
        found.append("status.json")
    return found


def newest(run: Path) -> Path:
    """The folder of the newest checkpoint."""
    return _checkpoints(run)[-1]


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file of a folder with its bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def status_of(run: Path) -> tuple[str, str]:
    """Status and reason."""
    status = files.read_json(run / "status.json")
    return status["status"], status["reason"]


def _names(run: Path) -> list[str]:
    patterns = ("metrics.jsonl", "config.yaml", "report.md", "episodes/*", "policy*/**/*")
    paths = [path for pattern in patterns for path in run.glob(pattern) if path.is_file()]
    return sorted(path.relative_to(run).as_posix() for path in paths)


def _bytes(folder: Path, name: str) -> bytes | None:
    path = folder / name
    if not path.is_file():
        return None
    if name == "report.md":  # its last lines are timings
        return path.read_bytes().partition(b"## Seconds")[0]
    return path.read_bytes()


def _report(run: Path) -> object:
    if not (run / "report.json").is_file():
        return None
    report = json.loads((run / "report.json").read_bytes())
    del report["timings_s"]
    return report


def _checkpoints(run: Path) -> list[Path]:
    return sorted((run / "checkpoints").glob("step-*"))
