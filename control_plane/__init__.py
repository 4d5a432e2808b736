"""The control plane: owns what tenants declare, compiles it into signed snapshots, pushes them to gateways."""
