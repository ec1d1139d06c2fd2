"""Documents that can be searched and asked: stored, cut into passages, found by words and by meaning."""
