"""Saved models behind HTTP: requests into one queue, one inference thread, predictions out. Knows `Task`, never a task."""
