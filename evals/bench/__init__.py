"""How fast it is: benchmarks of the engine beside its peers, on the same machine, weights and prompts.

Everybody takes part in every round, in an order that rotates, so that the machine's noise meets all
alike; what is compared are medians of ratios within rounds. `perdure bench` runs them.
"""
