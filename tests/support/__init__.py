"""What the tests and benchmarks lean on: real distributions, a real index, an independent oracle."""
