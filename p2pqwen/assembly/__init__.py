"""Build what the commands need from an `App`: one module for each thing that an app does."""
