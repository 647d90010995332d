"""REST service and page."""
