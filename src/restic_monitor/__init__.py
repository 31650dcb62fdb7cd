"""restic-monitor: an independent witness for restic backups."""

__version__ = "0.1.0"
