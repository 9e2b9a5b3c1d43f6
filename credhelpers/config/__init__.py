"""The configuration file: read with its lines, held against what each source knows, compiled into the plan."""
