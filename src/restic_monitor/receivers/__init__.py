"""Somebody who is told: one module each."""
