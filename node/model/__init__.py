"""What is computed: the image of a compiled model, its steps, and the engine that runs them."""
