"""What opens the registries of a cloud, and which registries are its own: a module a cloud."""
