"""A frozen base whose decoder layers the processes of a run share out (FSDP2)."""
