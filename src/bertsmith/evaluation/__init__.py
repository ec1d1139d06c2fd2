"""What a model is worth: scores, intervals, baselines, and the page that shows them. Trains nothing."""
