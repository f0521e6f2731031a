"""Anyone's model: what `modelyard new` makes a declaration from. It imports torch, which plain builds avoid."""
