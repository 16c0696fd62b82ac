"""Python files of the user's own that an experiment file names: rewards and tasks.

They run only where the user runs an experiment file. A run's folder may come from elsewhere, so
what it names is run again only if this machine's user has run the very same bytes before: those
bytes, not a compiled file beside them, and nothing else that stands in their folder.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Iterable
from importlib.abc import SourceLoader
from pathlib import Path
from types import ModuleType

from strategy_rl import files
from strategy_rl.errors import InputError
from strategy_rl.models import cache_root

_TRUSTED = "run-before.json"


def load_imports(paths: Iterable[str], *, trust: bool) -> dict[str, str]:
    """Run each file once a process; gives the SHA-256 of each by its path.

    Args:
        paths: Python files.
        trust: The user has named them now: they are run, and may import what stands beside them.
            Else only files that were run before are run, alone.

    Raises:
        InputError: There is no such file, it fails, its name is taken, or it is not known.
    """
    sources = {str(path): _read(Path(path)) for path in paths}
    digests = {path: hashlib.sha256(source).hexdigest() for path, source in sources.items()}
    known = _run_before()
    if trust:
        _remember(known | {digest: path for path, digest in digests.items()}, known)
    for path, source in sources.items():
        if not trust and digests[path] not in known:
            raise InputError(
                f"imports: {path} was not run here before as it is now, and a run's folder may "
                "come from elsewhere; read the file, then start the experiment file that names it, "
                "or give --trust-imports"
            )
        _load(Path(path), source, beside=trust)
    return digests


class _Source(SourceLoader):
    """Runs the bytes that were digested: no compiled file is read or written."""

    def __init__(self, path: Path, source: bytes) -> None:
        self._path, self._source = str(path), source

    def get_filename(self, fullname: str) -> str:
        """Where the source was read from."""
        return self._path

    def get_data(self, path: str) -> bytes:
        """The source."""
        return self._source


def _load(path: Path, source: bytes, *, beside: bool) -> ModuleType:
    name = path.stem
    known = sys.modules.get(name)
    if known is not None:
        if Path(getattr(known, "__file__", None) or "").resolve() == path.resolve():
            return known
        raise InputError(f"imports: {path}: a module {name!r} is loaded already; rename the file")
    found = importlib.util.find_spec(name)
    if found is not None and Path(found.origin or "").resolve() != path.resolve():
        raise InputError(f"imports: {path} hides the installed module {name!r}; rename the file")
    if path.suffix != ".py":
        raise InputError(f"imports: {path}: expected a Python file, NAME.py")
    loader = _Source(path, source)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if beside and str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        hint = "" if beside else "; what stands beside it is run with --trust-imports alone"
        fault = f"{type(error).__name__}: {error}"
        raise InputError(f"imports: {path} failed: {fault}{hint}") from error
    return module


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise InputError(
            f"imports: there is no file {path}; paths are relative to the experiment file"
        )
    return path.read_bytes()


def _run_before() -> dict[str, str]:
    """Digest to path of the files that were run by this user."""
    path = cache_root() / _TRUSTED
    known: dict[str, str] = files.read_json(path) if path.is_file() else {}
    return known


def _remember(now: dict[str, str], known: dict[str, str]) -> None:
    if now != known:
        cache_root().mkdir(parents=True, exist_ok=True)
        files.write_json(cache_root() / _TRUSTED, now)
