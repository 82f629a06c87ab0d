"""The Hugging Face Hub's side of its HTTP API, pure: what a request asks for, and the answers as clients read them.

The node's endpoint, the demo's Hub and the tests' simulator all answer with it.
"""
