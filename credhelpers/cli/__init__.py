"""The command: what a person runs, and what edits the files of clients. Nothing imports it."""
