"""Recipes by which a trained network is used with labels: `get_config(run, preset)`, see `jssl.transfer`."""
