from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from strategy_rl import files
from strategy_rl.errors import InputError, RunError, StorageError


class Killed(BaseException):
    """Stands for SIGKILL: nothing may be cleaned up after it."""


class BreakingDisk(files.Disk):
    """Raises at the k-th call and, where it stands for a kill, at every later one."""

    def __init__(self, fail_at: int, error: BaseException) -> None:
        self.calls = 0
        self.fail_at = fail_at
        self.error = error

    def _step(self) -> None:
        self.calls += 1
        dead = isinstance(self.error, Killed) and self.calls > self.fail_at
        if self.calls == self.fail_at or dead:
            raise self.error

    def open(self, path: Path, mode: str) -> BinaryIO:
        self._step()
        return super().open(path, mode)

    def write(self, file: BinaryIO, data: bytes) -> None:
        self._step()
        super().write(file, data)

    def fsync(self, target: BinaryIO | Path) -> None:
        self._step()
        super().fsync(target)

    def rename(self, source: Path, goal: Path) -> None:
        self._step()
        super().rename(source, goal)

    def remove(self, path: Path) -> None:
        self._step()
        super().remove(path)


@contextmanager
def breaking(fail_at: int, error: BaseException) -> Iterator[BreakingDisk]:
    good, files.disk = files.disk, BreakingDisk(fail_at, error)
    try:
        yield files.disk
    finally:
        files.disk = good


def count_calls(action: Callable[[], object]) -> int:
    with breaking(0, Killed()) as disk:
        disk.error = OSError()
        action()
    return disk.calls


def test_a_write_killed_at_any_step_leaves_the_old_or_the_new_content(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    calls = count_calls(lambda: files.write_bytes(path, b"old"))
    assert calls == 5  # open, write, fsync, rename, fsync of the folder
    seen = []
    for k in range(1, calls + 1):
        files.write_bytes(path, b"old")
        with breaking(k, Killed()), suppress(Killed):
            files.write_bytes(path, b"new")
        seen.append(path.read_bytes())
        files.remove_temporaries(tmp_path)
        assert os.listdir(tmp_path) == ["a.json"]
    assert seen == [b"old"] * 4 + [b"new"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_a_write_that_fails_at_any_step_raises_a_storage_error_and_leaves_no_litter(
    tmp_path: Path, number: int
) -> None:
    path = tmp_path / "a.json"
    for k in range(1, 6):
        files.write_bytes(path, b"old")
        with (
            breaking(k, OSError(number, os.strerror(number))),
            pytest.raises(StorageError, match=os.strerror(number)) as caught,
        ):
            files.write_bytes(path, b"new")
        assert str(path) in str(caught.value)
        assert caught.value.exit_code == 5
        assert os.listdir(tmp_path) == ["a.json"]
        assert path.read_bytes() == (b"new" if k == 5 else b"old")


def fill(goal: Path) -> None:
    with files.new_folder(goal) as folder:
        (folder / "sub").mkdir()
        (folder / "a").write_bytes(b"1")
        (folder / "sub" / "b").write_bytes(b"2")


def test_a_folder_killed_at_any_step_is_whole_or_absent(tmp_path: Path) -> None:
    calls = count_calls(lambda: fill(tmp_path / "first"))
    assert calls == 8  # two files opened and synced, two folders, rename, the parent
    for k in range(1, calls + 1):
        goal = tmp_path / f"goal-{k}"
        with breaking(k, Killed()), suppress(Killed):
            fill(goal)
        assert goal.exists() == (k == calls)
        assert not goal.exists() or (goal / "sub" / "b").read_bytes() == b"2"
    files.remove_temporaries(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["first", f"goal-{calls}"]


def test_a_folder_never_replaces_one_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "goal").mkdir()
    (tmp_path / "goal" / "mine").write_text("x")
    with pytest.raises(StorageError, match="remove it"):
        fill(tmp_path / "goal")
    assert os.listdir(tmp_path) == ["goal"]
    assert os.listdir(tmp_path / "goal") == ["mine"]


def test_a_made_folder_and_those_above_it_are_synced_into_their_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[object] = []
    monkeypatch.setattr(files.disk, "fsync", synced.append)
    files.make_folder(tmp_path / "a" / "b")
    assert sorted(map(str, synced)) == [str(tmp_path), str(tmp_path / "a")]
    files.make_folder(tmp_path / "a" / "b")
    assert len(synced) == 2
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match=r"file/c: Not a directory; check the path"):
        files.make_folder(tmp_path / "file" / "c")


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_new_files_and_folders_follow_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        files.write_json(tmp_path / "a.json", {})
        fill(tmp_path / "goal")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE((tmp_path / "goal").stat().st_mode) == 0o777 & ~umask


def test_json_comes_back_as_it_was_written(tmp_path: Path) -> None:
    value = {"b": [1, 2.5, None, True], "a": "Grüße, 你好", "c": {"d": 1e-300}}
    files.write_json(tmp_path / "a.json", value)
    assert files.read_json(tmp_path / "a.json") == value
    assert list(files.read_json(tmp_path / "a.json")) == ["b", "a", "c"]


def test_numbers_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(tmp_path / "a.json", {"x": float("nan")})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "'c' is given twice"),
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b"[-Infinity]", "-Infinity is no JSON number"),
        (b'{"a": 1', "not valid JSON"),
        (b"", "not valid JSON"),
        (b"\xff\xfe1", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
    ],
)
def test_json_that_is_not_strict_is_refused_with_its_path(
    tmp_path: Path, data: bytes, expected: str
) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(InputError, match=expected) as caught:
        files.read_json(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_missing_is_a_storage_error(tmp_path: Path) -> None:
    for read in (files.read_json, files.sha256_of):
        with pytest.raises(StorageError, match="none: No such file or directory; check the path"):
            read(tmp_path / "none")


def test_the_digest_of_abc_is_the_published_one(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files.sha256_of(tmp_path / "abc") == expected


def test_removing_a_link_leaves_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / ".tmp-link").symlink_to(tmp_path / "kept")
    files.remove_temporaries(tmp_path)
    assert os.listdir(tmp_path) == ["kept"]


def owner_of(folder: Path) -> Any:
    return json.loads((folder / files.LOCK_NAME).read_text())


def test_a_locked_folder_is_refused_and_free_again_afterwards(tmp_path: Path) -> None:
    with files.locked(tmp_path):
        assert owner_of(tmp_path)["pid"] == os.getpid()
        with pytest.raises(RunError, match=f"process {os.getpid()} on "), files.locked(tmp_path):
            pass
    assert os.listdir(tmp_path) == []
    with files.locked(tmp_path):
        pass


HOLD = """
import sys, time
from pathlib import Path
from strategy_rl.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(RunError, match=f"process {process.pid} "), files.locked(tmp_path):
            pass
        process.kill()
    with files.locked(tmp_path):
        assert owner_of(tmp_path)["pid"] == os.getpid()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1'])
def test_a_lock_that_was_never_finished_is_taken_over(tmp_path: Path, content: str) -> None:
    (tmp_path / files.LOCK_NAME).write_text(content)
    with files.locked(tmp_path):
        assert owner_of(tmp_path)["pid"] == os.getpid()


def test_a_process_that_got_the_same_number_is_not_the_owner(tmp_path: Path) -> None:
    with files.locked(tmp_path):
        owner = owner_of(tmp_path)
    owner["started"] = "1"
    (tmp_path / files.LOCK_NAME).write_text(json.dumps(owner))
    with files.locked(tmp_path):
        assert owner_of(tmp_path)["started"] != "1"


def test_a_lock_from_another_host_is_respected(tmp_path: Path) -> None:
    owner = {"pid": 1, "host": "elsewhere", "started": "1", "since": "yesterday"}
    (tmp_path / files.LOCK_NAME).write_text(json.dumps(owner))
    with (
        pytest.raises(RunError, match="on elsewhere since yesterday; wait, or delete"),
        files.locked(tmp_path),
    ):
        pass
    assert owner_of(tmp_path) == owner
