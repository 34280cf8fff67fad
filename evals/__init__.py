"""Evaluations: does it remember, does the persona hold, what does a turn cost. Scripts with reports."""
