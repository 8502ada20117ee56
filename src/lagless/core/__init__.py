"""The pure core: values and functions over them. No clock, randomness, thread, context variable, log or socket."""
