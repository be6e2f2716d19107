"""What a session leaves in the results besides trials."""

from __future__ import annotations

from hil.campaign.record import LinkRow
from hil.targets.session import Session


def link_row(session: Session, deadline_ms: int) -> LinkRow:
    """Give what a session knows of its node and its line; ``deadline_ms`` is what was calibrated on that node."""
    return LinkRow(target=session.url, deadline_ms=deadline_ms, node=session.facts(), counters=session.counters())
