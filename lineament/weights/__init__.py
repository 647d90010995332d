"""Shipped networks and their cards (files, no code)."""
