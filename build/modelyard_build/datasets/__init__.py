"""Real data that models are trained, verified and evaluated on."""
