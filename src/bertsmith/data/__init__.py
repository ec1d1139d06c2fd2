"""What comes in: readers of text and tables, corpora on disk, batches and their order. Knows tokens, not networks."""
