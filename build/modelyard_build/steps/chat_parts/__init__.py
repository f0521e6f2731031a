"""What stands beside the step `chat` in its version's folder, as modules of their own."""
