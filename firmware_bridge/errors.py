"""One error tree for the whole project; each error says whose fault it was and what to do.

::

    FlightNodeError            exit 1   something this project can name went wrong
    +-- UsageError             exit 2   the caller's: configuration, bad model, bad data, missing directory
    |   +-- ModelError                  a model that cannot be compiled or loaded
    |   +-- DataError                   inputs, results or check data of the wrong shape, type or content
    |   +-- ConfigError                 a campaign, bench or protection that cannot be used
    +-- LinkError              exit 3   the line's: port, link or board
    |   +-- PortError                   a port that is missing, busy or vanished
    |   +-- LinkLost                    no answer from the other end
    |   +-- Refused                     the node answered "no" and why
    +-- Interrupted            exit 4   stopped by the user or a full disk; what was measured is kept
    +-- ShortcutFailed         exit 1   ours: a shortcut did not give what the whole computation gives
"""

from __future__ import annotations


class FlightNodeError(Exception):
    """Something went wrong that the project can name."""

    exit_code = 1


class UsageError(FlightNodeError):
    """Configuration, a model, data or a directory that cannot be used as given."""

    exit_code = 2


class ModelError(UsageError):
    """A model that cannot be compiled or loaded."""


class DataError(UsageError):
    """Inputs, results or check data with the wrong shape, type or content."""


class ConfigError(UsageError):
    """A campaign, bench or protection that cannot be used."""


class LinkError(FlightNodeError):
    """The line, the port or the board failed."""

    exit_code = 3


class PortError(LinkError):
    """A port that is missing, busy or vanished."""


class LinkLost(LinkError):
    """The other end no longer answers."""


class Refused(LinkError):
    """The node answered a command with an error."""


class Interrupted(FlightNodeError):
    """Stopped by the user or by a full disk; everything measured so far is kept and can be resumed."""

    exit_code = 4


class ShortcutFailed(FlightNodeError):
    """What was computed the short way is not what the whole computation gives: a defect of this project."""
