"""credhelpers: docker credential helpers for the OS keyring and the cloud registries."""

__version__ = "0.1.0"
