"""Ways into and out of auricle: one file a format."""
