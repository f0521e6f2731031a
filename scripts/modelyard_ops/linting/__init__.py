"""What `modelyard lint` does around the rules: what is meant by its paths and settings, how findings are shown."""
