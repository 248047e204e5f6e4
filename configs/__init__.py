"""One file a method, in a folder by the kind of its data; each has `get_config(preset)`, and no two have the same name."""
