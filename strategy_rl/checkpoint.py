"""Checkpoints that survive a kill at any moment: written aside, digested, put in place by a rename.

A checkpoint is `checkpoints/step-<number>/` with `tensors.safetensors`, `state.json` and, written
last, `MANIFEST.json` with the digest of each. Order is by number, never by the clock.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import load_file, save
from torch import Tensor

from strategy_rl import files
from strategy_rl.errors import CheckpointError

FORMAT = 1
_NAME = re.compile(r"step-(\d{8})")
_TENSORS, _STATE, _MANIFEST = "tensors.safetensors", "state.json", "MANIFEST.json"

log = logging.getLogger(__name__)


class _Damaged(Exception):
    """One checkpoint is not what was written."""


class Checkpoint(NamedTuple):
    """A verified checkpoint."""

    number: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run; the newest `keep` stay."""

    def __init__(self, run_dir: Path, keep: int) -> None:
        self.directory = run_dir / "checkpoints"
        self.keep = keep

    def save(self, number: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Write checkpoint `number`, then drop those beyond `keep`.

        Raises:
            StorageError: The disk refused; earlier checkpoints are as they were.
        """
        final = self.directory / f"step-{number:08d}"
        if final.exists():  # damaged: an earlier one was gone on from
            with files.storage_errors(final):
                files.disk.remove(final)
        contiguous = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
        contents = {_TENSORS: save(contiguous), _STATE: files.json_bytes(dict(state))}
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
        manifest = {"format": FORMAT, "sha256": digests}
        with files.new_folder(final) as staging:
            for name, data in {**contents, _MANIFEST: files.json_bytes(manifest)}.items():
                with files.disk.open(staging / name, "wb") as file:
                    files.disk.write(file, data)
        self._prune()

    def load_newest(self) -> Checkpoint | None:
        """The newest checkpoint that verifies; None where none was ever written.

        Raises:
            CheckpointError: There are checkpoints and none is good, or the newest good one has
                another format.
        """
        faults = []
        for number, path in reversed(self._numbered()):
            try:
                return _verified(number, path)
            except _Damaged as error:
                faults.append(str(error))
                log.warning("%s; trying the one before", error)
        if faults:
            raise CheckpointError(
                f"no checkpoint in {self.directory} is usable, start a new run: "
                + "; ".join(faults)
            )
        return None

    def _numbered(self) -> list[tuple[int, Path]]:
        paths = self.directory.iterdir() if self.directory.is_dir() else ()
        matches = [(_NAME.fullmatch(path.name), path) for path in paths]
        return sorted((int(match[1]), path) for match, path in matches if match)

    def _prune(self) -> None:
        for _, path in self._numbered()[: -self.keep]:
            with files.storage_errors(path):
                files.disk.remove(path)


def _verified(number: int, path: Path) -> Checkpoint:
    try:
        manifest = files.read_json(path / _MANIFEST)
        if manifest["format"] != FORMAT:
            raise CheckpointError(
                f"{path}: checkpoint format {manifest['format']}, this version reads {FORMAT}; "
                "resume with the version that wrote it, or start a new run"
            )
        for name in (_TENSORS, _STATE):
            if files.sha256_of(path / name) != manifest["sha256"][name]:
                raise _Damaged(f"{path / name} is damaged: its digest differs")
        return Checkpoint(number, load_file(path / _TENSORS), files.read_json(path / _STATE))
    except (CheckpointError, _Damaged):
        raise
    except Exception as error:  # whatever a damaged file provokes
        raise _Damaged(f"{path} is damaged: {type(error).__name__}: {error}") from error
