"""The command line: one module for each command or group: parse, call, print. Only this package uses typer and rich."""
