"""The demonstration: a tiny real model, a local Hub that serves it, and the story told with both."""
