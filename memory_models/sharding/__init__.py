"""Several processes: what DDP and ZeRO partition, reduce and gather."""
