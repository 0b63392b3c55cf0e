"""The candidates of a plan, the rules that refuse some, and the Pareto front."""
