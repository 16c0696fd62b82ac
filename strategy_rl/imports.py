"""Python files of the user's own that an experiment file names: rewards and tasks.

They run only where the user runs an experiment file. A run's folder may come from elsewhere, so
what it names is run again only if this machine's user has run the very same bytes before.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable
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
        trust: The user has named them now; else only files that were run before are run.

    Raises:
        InputError: There is no such file, it fails, its name is taken, or it is not known.
    """
    digests = {str(path): _digest(Path(path)) for path in paths}
    known = _run_before()
    if trust:
        _remember(known | {digest: path for path, digest in digests.items()}, known)
    for path, digest in digests.items():
        if not trust and digest not in known:
            raise InputError(
                f"imports: {path} was not run here before as it is now, and a run's folder may "
                "come from elsewhere; read the file, then start the experiment file that names it, "
                "or give --trust-imports"
            )
        _load(Path(path))
    return digests


def _load(path: Path) -> ModuleType:
    name = path.stem
    known = sys.modules.get(name)
    if known is not None:
        if Path(getattr(known, "__file__", None) or "").resolve() == path.resolve():
            return known
        raise InputError(f"imports: {path}: a module {name!r} is loaded already; rename the file")
    found = importlib.util.find_spec(name)
    if found is not None and Path(found.origin or "").resolve() != path.resolve():
        raise InputError(f"imports: {path} hides the installed module {name!r}; rename the file")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"imports: {path}: expected a Python file, NAME.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # what it imports may stand beside it
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise InputError(f"imports: {path} failed: {type(error).__name__}: {error}") from error
    return module


def _digest(path: Path) -> str:
    if not path.is_file():
        raise InputError(
            f"imports: there is no file {path}; paths are relative to the experiment file"
        )
    return files.sha256_of(path)


def _run_before() -> dict[str, str]:
    """Digest to path of the files that were run by this user."""
    path = cache_root() / _TRUSTED
    known: dict[str, str] = files.read_json(path) if path.is_file() else {}
    return known


def _remember(now: dict[str, str], known: dict[str, str]) -> None:
    if now != known:
        cache_root().mkdir(parents=True, exist_ok=True)
        files.write_json(cache_root() / _TRUSTED, now)
