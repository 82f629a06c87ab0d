"""Builds what the commands need from an `App`: one module for each thing an app does."""
