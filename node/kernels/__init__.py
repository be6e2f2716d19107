"""All compiled code, in leaf files."""
