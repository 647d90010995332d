"""Readers of labelled face data, augmentation and batching (training and evaluation)."""
