"""People at browsers: signing in, staying signed in, and the pages they see."""
