"""Networks that nobody here made, what is true of each by its origin, and what an export without options says of it."""
