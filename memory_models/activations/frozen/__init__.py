"""Linears of a frozen base: the two products with their matrix, and several adapters on one."""
