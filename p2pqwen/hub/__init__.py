"""The Hugging Face Hub: API client, downloads, commit object over git, cache layout."""
