"""What a config comes to: every setting that Triton will use, where it is from, and what it does."""
