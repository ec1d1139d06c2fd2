"""Text to ids and back: the tokenizer, learning its vocabulary, sentences. Knows strings and numbers, never tensors."""
