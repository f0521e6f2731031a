"""Every system of the project, served and asked with real samples: what `modelyard systems` prints."""
