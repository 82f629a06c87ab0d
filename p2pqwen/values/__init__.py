"""Value types with the check in the constructor, so that no caller can forget it. Pure."""
