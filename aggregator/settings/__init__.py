"""Settings: command line and environment, checked before anything starts."""
