"""Who may do what: API keys, the scopes and limits of each, and the owner that a request speaks for."""
