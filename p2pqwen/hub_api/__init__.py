"""The server side of the Hugging Face Hub's HTTP API, without I/O: parse requests, build answers.

The node's endpoint, the demo's Hub and the tests' simulator all use it.
"""
