"""Mitogen's linear strategy, found where pip put it, whatever the version of Python."""

from __future__ import annotations

import gc
from typing import Any

import ansible_mitogen.strategy
from ansible.plugins import loader
from ansible.plugins.strategy import linear

# What the roles use most.
_ACTIONS = ("command", "copy", "debug", "file", "look", "normal", "set_fact", "stat", "template")
_LOOKUPS = ("file", "template")


class StrategyModule(
    ansible_mitogen.strategy.StrategyMixin,
    linear.StrategyModule,
):
    """Plain linear order, over one persistent connection and interpreter per host."""

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Load once what every forked worker would load again for every task and host."""
        loader.filter_loader.get("default")
        loader.test_loader.get("defined")
        for name in _ACTIONS:
            loader.action_loader.get(name, class_only=True)
        for name in _LOOKUPS:
            loader.lookup_loader.get(name, class_only=True)
        for name in ("mitogen_ssh", "ssh", "local"):
            loader.connection_loader.get(name, class_only=True)
        # A collection in a short-lived worker would visit, and so copy, all that it shares with us.
        gc.disable()
        gc.freeze()
        return super().run(*args, **kwargs)
