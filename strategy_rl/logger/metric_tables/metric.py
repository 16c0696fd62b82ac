"""One row of the table of metrics. Knows no single one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One row of the table; `higher_is` says whether more is better."""

    pattern: str
    meaning: str
    healthy: str
    higher_is: Literal["better", "worse", "neither"] = "neither"
    kind: Literal["scalar", "histogram", "text", "image"] = "scalar"
