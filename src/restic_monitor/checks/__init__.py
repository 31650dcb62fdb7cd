"""Questions about what was seen; pure, one module each."""
