"""How the weights that are kept in this repository were trained: one runnable recipe a file."""
