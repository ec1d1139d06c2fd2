"""Explanations: which words made a prediction, and how far a picture of that can be believed."""
