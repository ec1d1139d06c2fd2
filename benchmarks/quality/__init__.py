"""The parts of `benchmarks/quality.py`: sets, rows, what each system does with them, and the page of results."""
