"""Attribute search over an index of faces."""
