"""The command line: one module for each command group: parse, call, print. typer and rich live here only."""
