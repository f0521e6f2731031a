"""What an operator runs: the `modelyard` command and the harnesses behind it."""
