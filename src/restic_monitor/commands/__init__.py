"""What the commands of `cli` do; imported when a command runs, so that `--help` and `--version` stay quick."""
