"""Mitogen's linear strategy, found where pip put it, whatever the version of Python."""

from __future__ import annotations

import ansible_mitogen.strategy
from ansible.plugins.strategy import linear


class StrategyModule(
    ansible_mitogen.strategy.StrategyMixin,
    linear.StrategyModule,
):
    """Plain linear order, over one persistent connection and interpreter per host."""
