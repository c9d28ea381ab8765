"""All that knows Label Studio's formats and calls."""
