"""Value types whose constructors check, so no caller can forget it. No I/O."""
