"""TensorBoard with the Policy tab first: `python -m strategy_rl.board.serve --logdir RUNS`.

Takes TensorBoard's own options.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tensorboard import default, program

from strategy_rl.board.plugin import PolicyLoader


def main(arguments: Sequence[str]) -> int:
    """Serve until interrupted; gives TensorBoard's exit code."""
    # The entry point of an installed package names ours too, and two of a name are refused.
    others = [plugin for plugin in default.get_plugins() if plugin is not PolicyLoader]
    server = program.TensorBoard(plugins=[PolicyLoader, *others])
    server.configure(argv=["strategy-rl", *arguments])
    return int(server.main() or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
