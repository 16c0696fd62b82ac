"""Which rows are for training, validation and test: files of their own, or one file that is shared.

Knows no task.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from strategy_rl_envs.kit.errors import SettingError
from strategy_rl_envs.kit.selection import SPLITS

SUFFIXES = (".jsonl", ".csv", ".parquet")


def split_file(data: str, split: str) -> Path | None:
    """Find the file of a split; None where `data` is one file for all of them.

    Args:
        data: a folder with `{split}.jsonl` (or .csv, .parquet), a pattern with `{split}` in it, or
            one file.
        split: `train`, `validation` or `test`.

    Raises:
        SettingError: `data` is no text.
    """
    if not isinstance(data, str) or not data:
        raise SettingError(f"data: expected a folder, a file or a pattern, got {data!r}")
    if "{split}" in data:
        return Path(data.replace("{split}", split)).expanduser()
    path = Path(data).expanduser()
    if path.is_file() or path.suffix in SUFFIXES:
        return None
    files = [path / f"{split}{suffix}" for suffix in SUFFIXES]
    return next((file for file in files if file.is_file()), files[0])


def split_path(data: str | None, split: str, sample: Path) -> Path:
    """Find the file of a split where each split needs a file of its own.

    Args:
        data: As for `split_file`; None: the shipped sample.
        split: `train`, `validation` or `test`.
        sample: The sample's folder.

    Raises:
        SettingError: `data` is one file: it would serve training and test alike.
    """
    path = split_file(str(sample) if data is None else data, split)
    if path is None:
        raise SettingError(
            f"data: {data!r} is one file for all splits; name a folder that holds train.jsonl, "
            "validation.jsonl and test.jsonl, or a pattern such as 'rows.{split}.jsonl'"
        )
    return path


def read_shares(given: Sequence[float]) -> tuple[float, float, float]:
    """Check the shares of train, validation and test.

    Raises:
        SettingError: they are not three numbers above 0 that add up to 1.
    """
    numbers = isinstance(given, list | tuple) and all(
        type(share) in (int, float) for share in given
    )
    if (
        not numbers
        or len(given) != len(SPLITS)
        or min(given) <= 0
        or not math.isclose(sum(given), 1)
    ):
        raise SettingError(
            f"shares: expected three numbers above 0 that add up to 1 (train, validation, test), "
            f"got {given!r}"
        )
    return given[0], given[1], given[2]


def share_groups(groups: Iterable[str], shares: tuple[float, float, float]) -> Mapping[str, str]:
    """Give each group its split: in an order by hash, the same on every machine.

    Each split gets its share of the groups, rounded, and one at least.

    Raises:
        SettingError: there are fewer than three groups.
    """
    order = sorted(set(groups), key=lambda name: hashlib.sha256(name.encode()).digest())
    if len(order) < len(SPLITS):
        raise SettingError(
            f"data: one file is shared out by {len(order)} distinct row(s) or group(s); expected 3 "
            "at least, one each for train, validation and test"
        )
    num_test = min(max(1, round(shares[2] * len(order))), len(order) - 2)
    num_validation = min(max(1, round(shares[1] * len(order))), len(order) - num_test - 1)
    splits = ["test"] * num_test + ["validation"] * num_validation
    splits += ["train"] * (len(order) - len(splits))
    return dict(zip(order, splits, strict=True))
