"""One file a verb of the `modelyard` command, thin: parse, call, print."""
