"""`make browser` on machines that differ in what is installed and what apt-get can do."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def browser(folder: Path, *installed: str, apt_get: str) -> tuple[int, list[str]]:
    """The exit code, and the verbs that apt-get was called with."""
    bin_ = folder / "bin"
    bin_.mkdir()
    for name in ("sh", "date", "timeout", "cat"):
        (bin_ / name).symlink_to(shutil.which(name) or name)
    scripts = dict.fromkeys(installed, "") | {"apt-get": f'echo "$@" >> {folder}/calls\n{apt_get}'}
    for name, body in scripts.items():
        (bin_ / name).write_text(f"#!/bin/sh\n{body}\n", "utf-8")
        (bin_ / name).chmod(0o755)
    command = [shutil.which("make") or "make", "-C", str(ROOT), "browser"]
    environment = {"PATH": str(bin_)}
    code = subprocess.run(command, env=environment, capture_output=True, timeout=60).returncode
    calls = (folder / "calls").read_text("utf-8") if (folder / "calls").exists() else ""
    return code, [verb for verb in calls.split() if verb in ("install", "update")]


def test_nothing_is_installed_where_a_browser_is(tmp_path: Path) -> None:
    assert browser(tmp_path, "chromium", "chromedriver", apt_get="") == (0, [])


def test_a_browser_without_its_driver_is_not_enough(tmp_path: Path) -> None:
    assert browser(tmp_path, "chromium", apt_get="") == (0, ["install"])


def test_package_lists_are_updated_once_an_install_has_failed(tmp_path: Path) -> None:
    once = f'case "$(cat {tmp_path}/calls)" in *update*) ;; *) exit 100 ;; esac'
    assert browser(tmp_path, apt_get=once) == (0, ["install", "update", "install"])


def test_the_target_fails_where_nothing_can_be_installed(tmp_path: Path) -> None:
    assert browser(tmp_path, apt_get="exit 100") == (2, ["install", "update"])
