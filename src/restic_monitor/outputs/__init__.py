"""Results as text; one module each, pure."""
