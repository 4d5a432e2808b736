"""What a process logs, for whoever collects it."""
