"""Applications: real servers, unmodified, under the log."""
