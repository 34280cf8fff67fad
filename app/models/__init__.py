"""The models of this service, opened by the settings."""
