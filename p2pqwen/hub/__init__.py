"""The Hugging Face Hub: API client, downloads, commit object over git, cache layout."""

import os

# huggingface_hub reads the variable when it is imported, and raises ValueError if a blank follows the port.
if _endpoint := os.environ.get("HF_ENDPOINT"):
    os.environ["HF_ENDPOINT"] = _endpoint.strip(" \t\r\n\ufeff")
