"""What gateways share, in Redis or Valkey: budgets, messages, values and streams' events."""
