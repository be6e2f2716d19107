"""What the payload itself can do wrong; the agent outlives both and reports them."""

from __future__ import annotations

from firmware_bridge.errors import FlightNodeError


class PayloadCrash(FlightNodeError):
    """The computation ended abnormally, such as on a struck step that points outside the memory."""


class PayloadHang(FlightNodeError):
    """The computation makes no progress and has to be stopped from outside."""


class OutputWithheld(FlightNodeError):
    """A check on the computation failed and could not be satisfied: no output leaves the node."""
