"""What the evaluations share: a service to ask, memories to compare, results, statistics, reports."""
