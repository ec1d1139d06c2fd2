"""Saved models behind HTTP: requests into one queue and one inference thread. Knows `Task`, never a task."""
