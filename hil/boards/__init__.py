"""The bench: boards by name, and how their ports are found."""
