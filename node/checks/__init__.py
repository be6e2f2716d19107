"""Protects the computation: what is checked between two operators, and what a failed check says."""

from __future__ import annotations

from node.checks.alarm import Alarm, Check
from node.checks.step_checks import StepChecks

__all__ = ["Alarm", "Check", "StepChecks"]
