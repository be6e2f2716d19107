"""Steps over windows whose parameters are checked by their code at the moment of their use."""
