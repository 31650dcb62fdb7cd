"""`python -m restic_monitor` is `restic-monitor`."""

from restic_monitor.cli import main

if __name__ == "__main__":
    main()
