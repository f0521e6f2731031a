"""The steps of `speech`; each is a version's model.py, beside the parts that it names."""
