"""What a request, or the command line, can get wrong."""

from __future__ import annotations

from strategy_rl.errors import InputError


class RequestError(InputError):
    """A request that cannot be answered.

    Attributes:
        status: HTTP status, 400 or 404.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
