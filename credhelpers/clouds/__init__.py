"""What sources need of a cloud's SDK, and a cache hit does not: loaded by `mint` alone."""
