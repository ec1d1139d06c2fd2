"""Complete runs as functions of their settings: what the command line, the Python API and the quickstart call."""
