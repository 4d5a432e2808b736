"""People and what is theirs, over REST: signing in without a browser, their own API keys, their profile."""
