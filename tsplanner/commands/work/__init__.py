"""What ``train`` and ``tune`` share: how a full run is started."""
