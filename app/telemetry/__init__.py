"""What operators see of the running service: metrics, traces, and what came of each request."""
