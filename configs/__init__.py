"""One file a method; each has `get_config(preset)`."""
