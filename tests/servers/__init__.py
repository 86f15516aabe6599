"""Real servers of a test's own: each in its scratch folder, on sockets nobody else knows, and gone with the test."""
