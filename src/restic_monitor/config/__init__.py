"""From config.yaml to ready-made repositories; the only place where a value may be missing or wrong."""
