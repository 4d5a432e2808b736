"""What the control plane does, each service in terms of ports: authority, validation, transactions, audit."""
