"""The network: one client of HTTP, one trust, one choice of proxies, one table of why there was no answer."""
