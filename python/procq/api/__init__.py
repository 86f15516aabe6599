"""The HTTP API: resources over what the engine knows and wants. Imported after the workers run."""
