"""Nature: how hot it gets."""
