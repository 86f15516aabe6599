"""The engine: the only owner of changing state, and the port through which it drives whoever runs the workers."""
