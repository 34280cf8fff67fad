"""Storage: the SQL database that holds every message. All else is derived from it."""
