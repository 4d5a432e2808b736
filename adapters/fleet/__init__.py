"""The gateway's side of the conversation with the control plane, over gRPC."""
