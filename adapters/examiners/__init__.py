"""Services that look at texts, asked over HTTP."""
