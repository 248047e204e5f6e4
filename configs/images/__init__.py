"""The methods whose examples are images, one file each: `get_config(preset)`."""
