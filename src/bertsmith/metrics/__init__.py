"""Metrics that scikit-learn and scipy lack, or define otherwise than the field: numbers or texts in, numbers out."""
