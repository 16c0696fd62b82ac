"""What can go wrong, as a tree. A message says which, what came, what was expected, what to do.

StrategyRLError
├── InputError         exit 2   refused before anything is written
│   ├── ConfigError             an experiment file or override
│   ├── ModelError              a backbone or exported policy
│   └── RunError                a run folder: exists already, is locked, is none
├── DivergenceError    exit 3   not finite, or an invariant of the method broke
├── CheckpointError    exit 4   no usable checkpoint
├── StorageError       exit 5   the disk refused
├── EnvironmentFault   exit 6   an environment or a reward function failed
├── MemoryFault        exit 7   out of memory
└── Interrupted        exit 128 + signal, resumable
"""

from __future__ import annotations


class StrategyRLError(Exception):
    """Base of every error that this project raises on purpose."""

    exit_code = 1


class InputError(StrategyRLError):
    """What the user gave cannot be used."""

    exit_code = 2


class ConfigError(InputError):
    """An experiment file or an override is wrong; `faults` holds one line for each fault."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class ModelError(InputError):
    """A backbone or an exported policy cannot be loaded."""


class RunError(InputError):
    """A run folder cannot be used."""


class DivergenceError(StrategyRLError):
    """Training left the finite numbers, or an invariant of the method broke."""

    exit_code = 3


class CheckpointError(StrategyRLError):
    """No checkpoint can be used."""

    exit_code = 4


class StorageError(StrategyRLError):
    """The disk refused a write."""

    exit_code = 5


class EnvironmentFault(StrategyRLError):
    """An environment or a reward function failed.

    Attributes:
        place: Which of several observations is at fault; None where there is but one.
    """

    exit_code = 6
    place: int | None = None


class MemoryFault(StrategyRLError):
    """Memory ran out."""

    exit_code = 7


class Interrupted(StrategyRLError):
    """A signal asked the run to stop; it was saved and can be resumed."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"interrupted by signal {signum}; continue with `strategy-rl resume`")
        self.signum = signum
        self.exit_code = 128 + signum
