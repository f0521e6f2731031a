"""The model repository on disk: configs, versions, manifests. Imports no model framework."""
