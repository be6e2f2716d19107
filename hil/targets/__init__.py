"""Nodes that campaigns talk to, each by its URL: in this process, in a thread, behind a terminal, on a board."""
