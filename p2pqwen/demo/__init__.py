"""The demo: a tiny real model, a local Hub that serves it, and the steps played with both."""
