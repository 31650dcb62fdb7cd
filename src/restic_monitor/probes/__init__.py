"""Ways to look at a repository; one module each."""
