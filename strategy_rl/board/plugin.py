"""What TensorBoard finds by the entry point. Imports nothing heavy, so that it always loads."""

from __future__ import annotations

from typing import Any

from tensorboard.plugins.base_plugin import TBLoader


class PolicyLoader(TBLoader):  # type: ignore[misc] # TensorBoard has no types
    """Loads the plugin late: TensorBoard logs what fails here, and starts all the same."""

    def load(self, context: Any) -> Any:
        """The plugin, whose folders are watched from now on."""
        from strategy_rl.board.app import PolicyPlugin
        from strategy_rl.board.renderers import installed_renderers

        plugin = PolicyPlugin(context)
        plugin.catalog.watch(then=installed_renderers)
        return plugin
