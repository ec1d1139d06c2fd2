"""The networks: bricks, encoder, decoder, heads and presets on packed batches. Knows ids and tensors, never text."""
